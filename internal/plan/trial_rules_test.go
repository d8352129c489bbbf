package plan

import (
	"testing"
)

// loadsOf are loads as evenness measures them, all from fresh reports. This pod is the first.
func loadsOf(each ...float64) *loads {
	l := &loads{}
	for i, load := range each {
		l.pods = append(l.pods, podLoad{pod: string(rune('a' + i)), load: load, share: 1, renewed: true})
		l.mean += load / float64(len(each))
	}
	return l
}

func began(each ...float64) *trial {
	t := &trial{}
	t.begin(loadsOf(each...), &View{})
	return t
}

// Connections that land on one pod that is full already show a fixed order of addresses. Of
// few it may be chance, and a pod that lacks load is where they should land.
func TestCrowds(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after []float64
		want          string
	}{
		{"all on one that is full", []float64{20, 20, 20, 20, 0}, []float64{12, 28, 20, 20, 0}, "b"},
		{"spread", []float64{20, 20, 20, 20, 0}, []float64{12, 22, 22, 22, 2}, ""},
		{"all on one that lacks load", []float64{20, 20, 20, 20, 0}, []float64{12, 20, 20, 20, 8}, ""},
		{"two of two", []float64{20, 20, 20, 20, 0}, []float64{18, 22, 20, 20, 0}, ""},
	} {
		tr := began(tc.before...)
		gains, moved := tr.gains(loadsOf(tc.after...), "a")
		if got := tr.crowds(gains, moved, 1./5); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

// Where many connections land and none of them on the pods that lack load, chance does not
// explain it.
func TestStarvesAndFills(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after []float64
		starves       bool
		fills         bool
	}{
		{"none of 30 on the empty pod", []float64{50, 50, 50, 0}, []float64{20, 65, 65, 0}, true, false},
		{"none of 4", []float64{50, 50, 50, 0}, []float64{46, 52, 52, 0}, false, false},
		{"its part of 30", []float64{50, 50, 50, 0}, []float64{20, 60, 60, 10}, false, true},
		{"nobody lacks load", []float64{50, 40, 40, 30}, []float64{20, 65, 45, 30}, false, true},
	} {
		tr := began(tc.before...)
		l := loadsOf(tc.after...)
		gains, moved := tr.gains(l, "a")
		if got := tr.starves(gains, moved, 1./4); got != tc.starves {
			t.Errorf("%s: got starves %v, want %v", tc.name, got, tc.starves)
		}
		if got := tr.fills(l, "a"); got != tc.fills {
			t.Errorf("%s: got fills %v, want %v", tc.name, got, tc.fills)
		}
	}
}

// Reports from before the round show nothing.
func TestOldReportsShowNoGains(t *testing.T) {
	tr, l := began(50, 50, 0), loadsOf(20, 80, 0)
	l.pods[1].renewed = false
	if gains, moved := tr.gains(l, "a"); moved != 0 || len(gains) != 1 {
		t.Errorf("got %v moved and %d gains, want none from an old report", moved, len(gains))
	}
}

// The first rounds are small, each twice as large as the one before, until connections have
// landed; at rest they stay small.
func TestLooksAreSmall(t *testing.T) {
	l := loadsOf(100, 100, 0)
	l.total = 100
	tr := &trial{}
	for _, want := range []float64{lookLeast, 2 * lookLeast, 4 * lookLeast} {
		if got := tr.bound(50, l, 3, false) * l.total / 50; got < want-1e-9 || got > want+1e-9 {
			t.Errorf("got a look of %v connections of all pods, want %v", got, want)
		}
	}
	tr.landed = true
	if got := tr.bound(50, l, 3, false); got != 50 {
		t.Errorf("got %v once connections have landed, want all 50", got)
	}
	if got := tr.bound(50, l, 3, true); got >= 50 {
		t.Errorf("got %v at rest, want a small round", got)
	}
	if got := (&trial{}).bound(50, l, PollAll+1, false); got != 50 {
		t.Errorf("got %v of many pods, want all 50", got)
	}
}

// Each pause is longer than the one before; that the pods are even ends the series.
func TestPausesGrow(t *testing.T) {
	tr := &trial{}
	for i := range 5 {
		v := &View{Now: 1000}
		tr.pause(v, "what", "cause")
		if want := v.Now + pauses[min(i, len(pauses)-1)]; tr.until != want {
			t.Errorf("pause %d: got until %v, want %v", i, tr.until, want)
		}
		if tr.landed || tr.looks != 0 {
			t.Errorf("pause %d: got %+v, want the next round to look first", i, tr)
		}
	}
}

// What one connection shows may be chance: the loads rose by themselves.
func TestOneConnectionIsNoTrial(t *testing.T) {
	for _, tc := range []struct {
		drained uint64
		pauses  bool
	}{{1, false}, {enoughTries / 2, true}} {
		tr := began(60, 40, 40, 40)
		tr.uneven, tr.square, tr.rounds = 10, 300, 1
		l := loadsOf(80, 20, 40, 40)
		l.square = 2000
		v := &View{Members: []string{"a", "b", "c", "d"}}
		what, _ := tr.misplaced(l, 30, float64(tc.drained), 0, v, &Policy{})
		if got := what != ""; got != tc.pauses {
			t.Errorf("after %d drained connections: got a pause %v (%s), want %v", tc.drained, got, what, tc.pauses)
		}
	}
}
