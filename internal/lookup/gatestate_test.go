package lookup

import (
	"strings"
	"testing"
	"time"
)

// TestGateState runs the table of GateState: each case is a run of answers, one per
// second, "F" for a full one, "." for one that is not.
func TestGateState(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const never = -1
	for _, tc := range []struct {
		name          string
		wanted        int
		answers       string
		inARow        int
		open, waiting int // seconds after start; never if zero
		pace          time.Duration
		changes       int
	}{
		{"nothing wanted", 0, "FFFF", 0, never, never, 0, 0},
		{"just reset", 2, "", 0, never, 0, 50 * time.Millisecond, 0},
		{"a second later", 2, ".", 0, never, 0, 250 * time.Millisecond, 0},
		{"one full answer", 2, "F", 1, never, 0, 100 * time.Millisecond, 0},
		{"two full answers", 2, "FF", 2, never, 0, 100 * time.Millisecond, 0},
		{"three full answers", 2, "FFF", 3, 3, never, 2 * time.Second, 1},
		{"stays open", 1, "FFFFF", 5, 3, never, 2 * time.Second, 1},
		{"an interrupted run", 2, "FF.FF", 2, never, 0, 100 * time.Millisecond, 0},
		{"opens after an interruption", 2, "FF.FFF", 3, 6, never, 2 * time.Second, 1},
		{"closes with the first partial answer", 2, "FFFF.", 0, never, 5, 250 * time.Millisecond, 2},
		{"opens again", 2, "FFF.FFF", 3, 7, never, 2 * time.Second, 3},
		{"closed for 29 s", 2, ".............................", 0, never, 0, 250 * time.Millisecond, 0},
		{"closed for 30 s", 2, "..............................", 0, never, 0, time.Second, 0},
		{"closed for 90 s", 2, strings.Repeat(".", 90), 0, never, 0, 3 * time.Second, 0},
		{"closed for an hour", 2, strings.Repeat(".", 3600), 0, never, 0, 10 * time.Second, 0},
		{"a full answer after an hour", 2, strings.Repeat(".", 3600) + "F", 1, never, 0, 100 * time.Millisecond, 0},
		{"open for a minute", 2, strings.Repeat("F", 63), 63, 3, never, 2 * time.Second, 1},
		{"open for 2 min", 2, strings.Repeat("F", 123), 123, 3, never, 4 * time.Second, 1},
		{"open for an hour", 2, strings.Repeat("F", 3603), 3603, 3, never, 10 * time.Second, 1},
		{"closed again, the 30 s start over", 2, "..............................FFF.", 0, never, 34, 250 * time.Millisecond, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s GateState
			now, changes := start, 0
			s.Reset(tc.wanted, now)
			for _, answer := range tc.answers {
				now = now.Add(time.Second)
				was := s.Open()
				changed := s.Record(answer == 'F', now)
				if changed != (was != s.Open()) {
					t.Errorf("at %v: Record reports a change: %v; open was %v, is %v", now.Sub(start), changed, was, s.Open())
				}
				if changed {
					changes++
				}
			}
			at := func(name string, got time.Time, want int) {
				if want == never && !got.IsZero() || want != never && !got.Equal(start.Add(time.Duration(want)*time.Second)) {
					t.Errorf("%s is %v, want %d s after the start (-1: zero)", name, got, want)
				}
			}
			at("OpenSince", s.OpenSince(), tc.open)
			at("WaitingSince", s.WaitingSince(), tc.waiting)
			if s.Open() != (tc.open != never) || s.FullInARow() != tc.inARow || s.Pace(now) != tc.pace || changes != tc.changes {
				t.Errorf("%+v: pace %v, %d changes; want %+v", s, s.Pace(now), changes, tc)
			}
		})
	}
}

func TestResetClosesAnOpenGate(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s GateState
	for _, wanted := range []int{3, 0} {
		s.Reset(2, now)
		for range 3 {
			s.Record(true, now)
		}
		if !s.Open() {
			t.Fatalf("not open after three full answers: %+v", s)
		}
		s.Reset(wanted, now)
		if s.Open() || s.FullInARow() != 0 || !s.OpenSince().IsZero() || s.WaitingSince().IsZero() != (wanted == 0) {
			t.Errorf("after Reset(%d): %+v", wanted, s)
		}
	}
}

// A new pod is looked for at once, but a set that changes all the time has one quick second.
func TestFirstSecondAfterAChange(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s GateState
	for i, want := range []time.Duration{firstPace, firstPace, waitingPace, waitingPace} {
		s.Reset(1+i, now)
		if got := s.Pace(now); got != want {
			t.Errorf("change %d: the pace is %v, want %v", i, got, want)
		}
		now = now.Add(900 * time.Millisecond)
	}
	now = now.Add(200 * time.Millisecond)
	s.Reset(9, now)
	if got := s.Pace(now); got != firstPace {
		t.Errorf("after 1.1 s without a change, the pace is %v, want 50 ms", got)
	}
}
