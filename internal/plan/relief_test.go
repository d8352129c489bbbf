package plan

import (
	"math"
	"testing"
	"time"
)

// An overloaded pod gives up its share quickly while others have room, slowly while they have
// not, and never more than half. It takes it back slowly.
func TestRelief(t *testing.T) {
	const mean = 100
	for _, tc := range []struct {
		name       string
		load       float64
		overloaded time.Duration
		rest       time.Duration
		want       float64
	}{
		{"not overloaded", 120, 0, time.Minute, 1},
		{"carries more than the others", 120, 20 * time.Second, 0, 0.8},
		{"carries as much", 100, 20 * time.Second, 0, 0.98},
		{"for long", 120, time.Hour, 0, 1 - mostRelief},
		{"back after a minute", 120, 20 * time.Second, time.Minute, 0.9},
		{"back in full", 120, time.Hour, 5 * time.Minute, 1},
	} {
		var r relief
		v := &View{Now: time.Hour, Load: tc.load}
		r.observe(v, mean)
		for end := v.Now + tc.overloaded + tc.rest; v.Now < end; {
			v.Now += 100 * time.Millisecond
			v.Overloaded = "busy"
			if v.Now > end-tc.rest {
				v.Overloaded = ""
			}
			r.observe(v, mean)
		}
		if math.Abs(r.part()-tc.want) > 0.01 {
			t.Errorf("%s: got %.3f of its share, want %.3f", tc.name, r.part(), tc.want)
		}
	}
}

// Pods that are all near their limits do not pass load around: none gives up its share slowly
// within 10 minutes after another was overloaded, too.
func TestNoSlowReliefWhereOthersAreTight(t *testing.T) {
	var r relief
	v := &View{Now: time.Hour, Load: 100, Overloaded: "busy", Peers: []Peer{{Pod: "b", Overloaded: true}}}
	r.observe(v, 100)
	v.Peers = nil
	for v.Now < time.Hour+tightFor {
		v.Now += time.Second
		r.observe(v, 100)
	}
	if r.part() != 1 {
		t.Errorf("got %v of its share within %v after another pod was overloaded, want all", r.part(), tightFor)
	}
	for range 60 {
		v.Now += time.Second
		r.observe(v, 100)
	}
	if r.part() >= 1 {
		t.Error("got all of its share later, want less")
	}
}

// A loop that was held up gives up no more at once than in a second.
func TestReliefAfterAPause(t *testing.T) {
	var r relief
	r.observe(&View{Now: time.Hour}, 100)
	r.observe(&View{Now: 2 * time.Hour, Load: 200, Overloaded: "busy"}, 100)
	if r.part() < 1-quickRelief-1e-9 {
		t.Errorf("got %v after an hour without a plan, want no more than a second's worth", r.part())
	}
}

// What is not known of the others gives no reason to shed.
func TestNoReliefWithoutAMean(t *testing.T) {
	var r relief
	r.observe(&View{Now: time.Second, Load: 200, Overloaded: "busy"}, 0)
	if r.part() != 1 {
		t.Errorf("got %v with no mean, want 1", r.part())
	}
}
