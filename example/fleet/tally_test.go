package fleet

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const quarter = 250 * time.Millisecond

// begin is the start of an interval.
var begin = time.UnixMilli(1_800_000_000_000)

// at returns the start of interval i.
func at(i int) time.Time { return begin.Add(time.Duration(i) * quarter) }

func add(t *Tally, i int, calls map[string]int) {
	t.Add(Report{T: at(i).UnixMilli(), Calls: calls})
}

func TestMaxOverMean(t *testing.T) {
	pods := []string{"a", "b", "c", "d"}
	for _, tc := range []struct {
		name  string
		calls map[string]int
		want  float64
	}{
		{"even", map[string]int{"a": 5, "b": 5, "c": 5, "d": 5}, 1},
		{"all on one", map[string]int{"a": 7}, 4},
		{"a pod without calls counts", map[string]int{"a": 4, "b": 4, "c": 4}, 4.0 / 3},
		{"other pods do not count", map[string]int{"a": 5, "b": 5, "c": 5, "d": 5, "gone": 50}, 1},
		{"no calls", nil, Uneven},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := MaxOverMean(tc.calls, pods); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// Whatever the calls, the result lies between 1 and the number of pods, and does not
// depend on the order of pods.
func TestMaxOverMeanBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pods := rapid.SliceOfNDistinct(rapid.StringMatching(`p[0-9]+`), 1, 8, rapid.ID).Draw(t, "pods")
		calls := rapid.MapOf(rapid.SampledFrom(pods), rapid.IntRange(0, 1000)).Draw(t, "calls")
		got := MaxOverMean(calls, pods)
		if got != Uneven && (got < 1-1e-9 || got > float64(len(pods))+1e-9) {
			t.Fatalf("got %v for %v over %v, want 1 to %d", got, calls, pods, len(pods))
		}
		if again := MaxOverMean(calls, rapid.Permutation(pods).Draw(t, "permuted")); again != got {
			t.Fatalf("got %v, but %v with the pods in another order", got, again)
		}
	})
}

func TestTallyAddsUpClients(t *testing.T) {
	tally := NewTally(quarter)
	for i := range 4 {
		add(tally, i, map[string]int{"a": 1})
		add(tally, i, map[string]int{"a": 2, "b": 3})
	}
	add(tally, 4, map[string]int{"a": 100})
	tally.Add(Report{T: at(0).UnixMilli(), Calls: map[string]int{"a": 1000}, Total: true})

	got := tally.Window(at(0).Add(quarter / 2))
	if got["a"] != 12 || got["b"] != 12 {
		t.Errorf("got %v in the first second, want 12 calls each", got)
	}
	if n := tally.Calls(); n != 124 {
		t.Errorf("got %d calls, want 124", n)
	}
	if pods := tally.Pods(); len(pods) != 2 || pods[0] != "a" || pods[1] != "b" {
		t.Errorf("got pods %v, want a and b", pods)
	}
}

// The calls of an even and of an uneven interval.
var (
	both = map[string]int{"a": 10, "b": 10}
	one  = map[string]int{"a": 20}
)

func TestEvenSince(t *testing.T) {
	pods := []string{"a", "b"}
	for _, tc := range []struct {
		name      string
		intervals []map[string]int
		to        int // 0 means the end of intervals
		want      int // -1 means never
	}{
		{"from the start", repeat(both, 12), 0, 0},
		{"never", repeat(one, 40), 0, -1},
		{"later", append(repeat(one, 6), repeat(both, 12)...), 0, 6},
		{"not for long enough", append(repeat(one, 6), repeat(both, 10)...), 0, -1},
		{"a relapse", append(append(append(repeat(one, 2), repeat(both, 6)...), one), repeat(both, 12)...), 0, 9},
		{"intervals after the end do not count", repeat(both, 20), 10, -1},
		{"no calls are not even", repeat(nil, 40), 0, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tally := NewTally(quarter)
			for i, calls := range tc.intervals {
				add(tally, i, calls)
			}
			to := len(tc.intervals)
			if tc.to > 0 {
				to = tc.to
			}
			got, ok := tally.EvenSince(at(0), at(to), pods, 1.1, 2*time.Second)
			switch {
			case ok != (tc.want >= 0):
				t.Errorf("got ok %v, want %v", ok, tc.want >= 0)
			case ok && !got.Equal(at(tc.want)):
				t.Errorf("even since %v after the start, want %v", got.Sub(begin), at(tc.want).Sub(begin))
			}
		})
	}
}

// An interval that a busy machine made uneven is part of four of the twenty seconds
// that begin within stay. That is no relapse.
func TestEvenSinceForgivesOneInterval(t *testing.T) {
	tally := NewTally(quarter)
	for i, calls := range append(append(repeat(both, 6), one), repeat(both, 30)...) {
		add(tally, i, calls)
	}
	got, ok := tally.EvenSince(at(0), at(37), []string{"a", "b"}, 1.1, 5*time.Second)
	if !ok || !got.Equal(at(0)) {
		t.Errorf("even since %v after the start (%v), want 0s (true)", got.Sub(begin), ok)
	}
}

func repeat(calls map[string]int, n int) []map[string]int {
	out := make([]map[string]int, n)
	for i := range out {
		out[i] = calls
	}
	return out
}

func TestFailuresIn(t *testing.T) {
	tally := NewTally(quarter)
	for i := range 10 {
		tally.Add(Report{T: at(i).UnixMilli(), Failures: 2, Errors: map[string]int{"Unavailable: gone": 2}})
	}
	if n := tally.Failed(at(2), at(5)); n != 6 {
		t.Errorf("got %d failed RPCs, want 6", n)
	}
	// The interval in which a phase begins belongs to the phase.
	if n := tally.Failed(at(2).Add(quarter/2), at(5)); n != 6 {
		t.Errorf("got %d failed RPCs, want 6", n)
	}
	if n := tally.Failed(time.Time{}, at(100)); n != 20 {
		t.Errorf("got %d failed RPCs, want 20", n)
	}
}
