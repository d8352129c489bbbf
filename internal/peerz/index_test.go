package peerz

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIndexCountsAsHasherHashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := NewHasher(rapid.SampledFrom([]string{"", "salt"}).Draw(t, "salt"))
		want := rapid.MapOf(rapid.String(), rapid.IntRange(0, 9)).Draw(t, "counts")
		x := h.NewIndex(0)
		for key, n := range want {
			x.Add(key, n)
			x.Add(key, 1)
		}
		odd := func(key string) bool { return len(key)%2 == 1 }
		for key := range want {
			if odd(key) {
				x.AddSingleHomed(key)
			}
		}
		for key, n := range want {
			if got, singleHomed := x.Count(h.Hash(key)); got != n+1 || singleHomed != odd(key) {
				t.Fatalf("Count of key %q is %d, %v, want %d, %v", key, got, singleHomed, n+1, odd(key))
			}
		}
		hashed := h.Hash("a key that is not there")
		for _, wrong := range []string{hashed, "", "ab", hashed[1:], hashed + "00", strings.Repeat("z", 24)} {
			if n, singleHomed := x.Count(wrong); n != 0 || singleHomed {
				t.Fatalf("Count of %q is %d, %v, want 0, false", wrong, n, singleHomed)
			}
		}
	})
}

func TestIndexAllocatesNothingPerKey(t *testing.T) {
	for _, salt := range []string{"", "salt"} {
		x := NewHasher(salt).NewIndex(1)
		x.Add("10.244.12.34", 1)
		if n := testing.AllocsPerRun(100, func() { x.Add("10.244.12.34", 1) }); n != 0 {
			t.Errorf("salt %q: %v allocations per key", salt, n)
		}
	}
}

func BenchmarkIndex100000(b *testing.B) {
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	}
	for _, salt := range []string{"", "salt"} {
		b.Run("salt="+salt, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x := NewHasher(salt).NewIndex(len(keys))
				for _, key := range keys {
					x.Add(key, 1)
				}
			}
		})
	}
}
