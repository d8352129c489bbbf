package fleet

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const quarter = 250 * time.Millisecond

// begin is a moment at which an interval begins.
var begin = time.UnixMilli(1_800_000_000_000)

// at is the begin of interval i.
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
		{"a stranger does not count", map[string]int{"a": 5, "b": 5, "c": 5, "d": 5, "gone": 50}, 1},
		{"none", nil, Uneven},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := MaxOverMean(tc.calls, pods); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// Whatever the calls: from 1 to the number of pods, and no matter in what order pods
// are named.
func TestMaxOverMeanBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pods := rapid.SliceOfNDistinct(rapid.StringMatching(`p[0-9]+`), 1, 8, rapid.ID).Draw(t, "pods")
		calls := rapid.MapOf(rapid.SampledFrom(pods), rapid.IntRange(0, 1000)).Draw(t, "calls")
		got := MaxOverMean(calls, pods)
		if got != Uneven && (got < 1-1e-9 || got > float64(len(pods))+1e-9) {
			t.Fatalf("%v for %v over %v", got, calls, pods)
		}
		if again := MaxOverMean(calls, rapid.Permutation(pods).Draw(t, "permuted")); again != got {
			t.Fatalf("%v, but %v in another order", got, again)
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
		t.Errorf("window %v, want 12 for each", got)
	}
	if n := tally.Calls(); n != 124 {
		t.Errorf("%d calls, want 124", n)
	}
	if pods := tally.Pods(); len(pods) != 2 || pods[0] != "a" || pods[1] != "b" {
		t.Errorf("pods %v", pods)
	}
}

// even and uneven intervals.
var (
	both = map[string]int{"a": 10, "b": 10}
	one  = map[string]int{"a": 20}
)

func TestEvenSince(t *testing.T) {
	pods := []string{"a", "b"}
	for _, tc := range []struct {
		name      string
		intervals []map[string]int
		to        int // 0: the end of intervals
		want      int // -1: never
	}{
		{"from the begin", repeat(both, 12), 0, 0},
		{"never", repeat(one, 40), 0, -1},
		{"later", append(repeat(one, 6), repeat(both, 12)...), 0, 6},
		{"not for long enough", append(repeat(one, 6), repeat(both, 10)...), 0, -1},
		{"a relapse", append(append(append(repeat(one, 2), repeat(both, 6)...), one), repeat(both, 12)...), 0, 9},
		{"what is after the end is not looked at", repeat(both, 20), 10, -1},
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
				t.Errorf("ok is %v", ok)
			case ok && !got.Equal(at(tc.want)):
				t.Errorf("even since %v, want %v", got.Sub(begin), at(tc.want).Sub(begin))
			}
		})
	}
}

// One interval in which a busy machine mixed things up touches the four seconds that
// it is in, of the twenty that begin within five: not enough to speak of a relapse.
func TestEvenSinceForgivesOneInterval(t *testing.T) {
	tally := NewTally(quarter)
	for i, calls := range append(append(repeat(both, 6), one), repeat(both, 30)...) {
		add(tally, i, calls)
	}
	got, ok := tally.EvenSince(at(0), at(37), []string{"a", "b"}, 1.1, 5*time.Second)
	if !ok || !got.Equal(at(0)) {
		t.Errorf("even since %v (%v), want from the begin", got.Sub(begin), ok)
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
		t.Errorf("%d failed, want 6", n)
	}
	// A failure is in the interval in which a phase begins, not before it.
	if n := tally.Failed(at(2).Add(quarter/2), at(5)); n != 6 {
		t.Errorf("%d failed, want 6", n)
	}
	if n := tally.Failed(time.Time{}, at(100)); n != 20 {
		t.Errorf("%d failed, want 20", n)
	}
}
