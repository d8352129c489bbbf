package main

import (
	"strings"
	"testing"
)

// Each of the four changes of a pod writes one slice when they come one by one.
func TestRoll(t *testing.T) {
	f := newFleet(20)
	if err := f.roll(5, false); err != nil {
		t.Fatal(err)
	}
	if f.writes != 4*20 {
		t.Errorf("the slices were written %d times, want 4 for each of 20 pods", f.writes)
	}
	if mean := f.bytes / f.writes; mean < 100*20 || mean > 300*20 {
		t.Errorf("a write has %d bytes, want 100 to 300 for each of 20 to 25 endpoints", mean)
	}
	together := newFleet(20)
	if err := together.roll(5, true); err != nil {
		t.Fatal(err)
	}
	if together.writes != 4*4 {
		t.Errorf("the slices were written %d times, want 4 for each of 4 steps", together.writes)
	}
}

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run("3", 0.25, &out); err != nil || !strings.Contains(out.String(), "| 3, one by one | 12 times |") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	for _, bad := range []struct {
		pods  string
		surge float64
	}{{"3,x", 0.25}, {"0", 0.25}, {"3", 0}, {"3", 1.5}} {
		if err := run(bad.pods, bad.surge, &out); err == nil {
			t.Errorf("-pods %s -surge %v is accepted", bad.pods, bad.surge)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int]string{7: "7 B", 15_500: "15.5 kB", 62_000_000: "62 MB", 1_550_000_000_000: "1.6 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}
