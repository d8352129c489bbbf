package plan

import (
	"testing"
	"time"
)

// shownAfter lets a verdict last for a while, and returns what is shown then.
func shownAfter(h *shown, now *time.Duration, calm bool, v Verdict, d time.Duration) Verdict {
	for end := *now + d; ; *now += time.Second {
		st := Step{Verdict: v, Why: "because"}
		h.settle(*now, calm, &st)
		if *now >= end {
			return st.Verdict
		}
	}
}

// At rest a verdict must last for a minute before it is shown, and for longer the more often
// it has changed.
func TestVerdictsAreShownOnceTheyLast(t *testing.T) {
	h, now := &shown{}, time.Hour
	shownAfter(h, &now, true, Balanced, time.Second)
	if got := shownAfter(h, &now, true, Moving, 10*time.Second); got != Balanced {
		t.Errorf("got %s after 10 s, want balanced", got)
	}
	shownAfter(h, &now, true, Balanced, time.Second)
	if got := shownAfter(h, &now, true, Moving, 55*time.Second); got != Balanced {
		t.Errorf("got %s after 10 s and 55 s with a break, want balanced", got)
	}
	last := time.Duration(0)
	for i := range 8 {
		v := []Verdict{Moving, Balanced}[i%2]
		from := now
		for shownAfter(h, &now, true, v, time.Second) != v {
		}
		if took := now - from; took+time.Minute < last || took > shownMost+time.Minute {
			t.Errorf("change %d: shown after %v, want longer than %v before, and %v at most", i, took, last, shownMost)
		} else {
			last = took
		}
	}
	if last < 10*time.Minute {
		t.Errorf("got the eighth change after %v, want it to last for long", last)
	}
}

// While something happens, each verdict is shown at once; and so is what a person must know.
func TestSomeVerdictsAreShownAtOnce(t *testing.T) {
	for _, tc := range []struct {
		calm bool
		v    Verdict
	}{{false, Moving}, {false, Waiting}, {true, Stale}, {true, Disabled}, {true, Overloaded}, {true, Draining}, {true, Checking}} {
		h, now := &shown{}, time.Hour
		shownAfter(h, &now, tc.calm, Balanced, time.Second)
		if got := shownAfter(h, &now, tc.calm, tc.v, 0); got != tc.v {
			t.Errorf("calm %v: got %s, want %s at once", tc.calm, got, tc.v)
		}
		want := Balanced
		if tc.v == Overloaded { // its signal may flip
			want = Overloaded
		}
		if got := shownAfter(h, &now, tc.calm, Balanced, 0); got != want {
			t.Errorf("calm %v: got %s after %s, want %s at once", tc.calm, got, tc.v, want)
		}
	}
}

// An overload that has ended for good is not shown for long.
func TestAnOverloadEnds(t *testing.T) {
	h, now := &shown{}, 2*time.Hour
	shownAfter(h, &now, true, Balanced, time.Second)
	shownAfter(h, &now, true, Overloaded, time.Minute)
	if got := shownAfter(h, &now, true, Balanced, 2*time.Minute+time.Second); got != Balanced {
		t.Errorf("got %s 2 min after the end of an overload, want balanced", got)
	}
}
