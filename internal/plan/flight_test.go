package plan

import (
	"math"
	"slices"
	"testing"
	"time"
)

// moment is what is in flight after some seconds, of this pod and of all, and the loads of 5 pods together
// with it.
type moment struct {
	at              int
	own, all, loads float64
}

func (m *moment) time() time.Duration { return time.Duration(m.at) * time.Second }

// watch shows moments to f. What this pod has in flight was drained at 0.
func (f *flights) watch(moments []moment) (l *loads) {
	for _, m := range moments {
		now := m.time()
		v := &View{Now: now, Members: []string{"a", "b", "c", "d", "e"}}
		if m.own > 0 {
			v.InFlight = Flight{Load: m.own, Connections: int(m.own), Streams: int(m.own), Oldest: now}
		}
		l = loadsOf((m.loads-m.all)/5, (m.loads-m.all)/5, (m.loads-m.all)/5, (m.loads-m.all)/5, (m.loads-m.all)/5)
		l.flight = m.all
		l.land(f, v)
	}
	return l
}

// Whether the streams of drained connections end, and whether their clients have connected to another
// pod, shows while they are in flight.
func TestFlightsLearn(t *testing.T) {
	type learned struct{ slow, end, eager bool }
	for _, tc := range []struct {
		name    string
		moments []moment
		want    learned
		flight  float64 // that counts, in the end
	}{
		{"short calls", []moment{{0, 0, 0, 100}, {1, 2, 4, 100}, {2, 0, 0, 100}}, learned{}, 0},
		{"the round goes on, with short calls", []moment{{0, 0, 0, 100}, {9, 1, 1, 100}}, learned{}, 1},
		{"endless, lazy", []moment{{0, 0, 0, 100}, {1, 30, 60, 100}, {600, 30, 60, 100}}, learned{slow: true}, 60},
		{"endless, eager", []moment{{0, 0, 0, 100}, {1, 30, 60, 100}, {600, 30, 60, 160}}, learned{slow: true, eager: true}, 60},
		{"of other pods", []moment{{0, 0, 0, 100}, {1, 0, 60, 100}, {11, 0, 60, 100}}, learned{slow: true}, 60},
		{"half of them end", []moment{{0, 0, 0, 100}, {20, 30, 60, 100}, {30, 15, 30, 100}}, learned{slow: true}, 30},
		{"nearly all end", []moment{{0, 0, 0, 100}, {20, 30, 60, 100}, {30, 3, 6, 100}}, learned{slow: true, end: true}, 6},
		{"they end, and clients are eager", []moment{{0, 0, 0, 100}, {20, 30, 60, 160}, {30, 0, 0, 100}, {33, 9, 20, 120}}, learned{slow: true, end: true, eager: true}, 0},
		{"of those some have connected", []moment{{0, 0, 0, 100}, {20, 30, 60, 160}, {30, 0, 0, 100}, {33, 9, 20, 114}}, learned{slow: true, end: true, eager: true}, 6},
		{"what was before a change is not known", []moment{{1, 30, 60, 160}, {30, 30, 60, 160}}, learned{slow: true}, 60},
	} {
		f := &flights{}
		l := f.watch(tc.moments)
		if got := (learned{f.slow, f.end, f.eager}); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, tc.want)
		}
		if l.flight < tc.flight-1e-9 || l.flight > tc.flight+1e-9 {
			t.Errorf("%s: got %v in flight, want %v", tc.name, l.flight, tc.flight)
		}
	}
}

// While the streams of a round are ending, the next one waits: its loads are about to change. It does
// not wait for a few that go on, nor for what other pods have just drained.
func TestRoundsWaitForStreamsThatEnd(t *testing.T) {
	first := []moment{{0, 0, 0, 100}, {20, 30, 60, 100}}
	for _, tc := range []struct {
		name string
		more []moment
		want bool
	}{
		{"none has ended", nil, false},
		{"some have just ended", []moment{{27, 25, 50, 100}}, true},
		{"some have ended, and no more do", []moment{{27, 25, 50, 100}, {33, 25, 50, 100}}, false},
		{"nearly all have ended", []moment{{27, 25, 50, 100}, {30, 2, 4, 100}}, false},
		{"another pod has begun its round", []moment{{27, 25, 50, 100}, {30, 2, 4, 100}, {31, 0, 14, 100}}, false},
	} {
		f, all := &flights{}, slices.Concat(first, tc.more)
		l := f.watch(all)
		if got := f.landing(l, all[len(all)-1].time()); got != tc.want {
			t.Errorf("%s: got waits %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Where streams are known to end, what is in flight does not hold a round back: it is bound to land. And
// a round that comes late keeps nothing back for chance.
func TestRoundsWhileStreamsEnd(t *testing.T) {
	p := &Policy{Tolerance: 0.1, Floor: 0.7, Whole: true}
	level := func(slow, end bool) float64 {
		l := loadsOf(32, 18, 12, 12, 12)
		l.self, l.flight, l.slow, l.end = l.pods[0], 14, slow, end
		l.self.plain = 1
		l.compare(5, p)
		return l.level
	}
	for _, tc := range []struct {
		slow, end bool
		want      float64
	}{
		{false, true, 22},  // the excess of 10
		{true, false, 21},  // 1.05 times the mean
		{true, true, 19.5}, // 2.5 more than the excess, since a fifth comes back
	} {
		if got := level(tc.slow, tc.end); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("slow %v, streams end %v: got a level of %v, want %v", tc.slow, tc.end, got, tc.want)
		}
	}
}
