package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Many single-homed clients behind one address look like a multi-homed one until they do
// not come back.
func TestSingleHomedClientsBehindFewAddresses(t *testing.T) {
	t.Parallel()
	const n, keys, seeds = 60, 3, 60
	sent := 0
	for seed := range uint64(seeds) {
		f := newFleet(2, 0, 1)
		f.rand = rand.New(rand.NewPCG(seed, 0))
		for i := range n {
			f.place(f.anyPod(), &singleClient{key: fmt.Sprint("nat-", i%keys)}, false)
		}
		f.run(2 * time.Minute)
		before := len(f.sentAt)
		f.scale(5)
		f.resolveAll()
		f.run(time.Minute)
		firstRound := f.goaways[reason.Reach]
		f.run(4 * time.Minute)
		if f.wantInBand(t); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		if later := f.goaways[reason.Reach] - firstRound; later != 0 {
			t.Errorf("seed %d: got %d GOAWAYs in later rounds of reach, want none", seed, later)
		}
		sent += len(f.sentAt) - before
	}
	if per := float64(sent) / (n * seeds); per > 1.1 {
		t.Errorf("got %.2f GOAWAYs per connection, want 1.1 at most", per)
	}
}

// One multi-homed client among many single-homed ones keeps the round going. The
// single-homed ones are known all the same.
func TestOneReturnKeepsTheRoundGoing(t *testing.T) {
	for _, back := range []bool{false, true} {
		s := &State{growth: &growth{phase: checking, total: 10, drains: []keyDrains{{"nat", 9}, {"multi", 1}}}}
		v := &View{Now: comesBack, Members: []string{"a", "b"}, Conns: []Conn{{Key: "nat", Returned: true}, {Key: "multi", Returned: back}}}
		if ended := s.judge(v, &Step{}); ended == back {
			t.Errorf("back %v: got ended %v, want %v", back, ended, !back)
		}
		if s.SingleHomed()["nat"] != true || s.SingleHomed()["multi"] == back {
			t.Errorf("back %v: got single-homed clients %v", back, s.SingleHomed())
		}
	}
}

// Handlers set keys during an RPC, so it is not known at once which clients are back.
func TestNamedClientsAreNotJudgedEarly(t *testing.T) {
	g := &growth{drains: []keyDrains{{"k", 4}}}
	v := &View{Members: []string{"a", "b"}, Conns: []Conn{{Key: "10.0.0.1"}}}
	if keys, known := g.away(v); len(keys) != 1 || !known {
		t.Errorf("got %v away (known: %v) with no client back, want one", keys, known)
	}
	v.Conns = append(v.Conns, Conn{Key: "other", Named: true})
	if keys, known := g.away(v); known {
		t.Errorf("got %v away where handlers set keys, want it unknown", keys)
	}
	v.Conns = []Conn{{Key: "k", Returned: true}, {Key: "k", Returned: true}, {Key: "k", Returned: true}}
	if keys, known := g.away(v); len(keys) != 0 || !known {
		t.Errorf("got %v away (known: %v) with three of four connections back, want none", keys, known)
	}
}

// Single-homed clients are forgotten when the next growth begins, and when every pod's
// rounds are over: a client's address may be another client's by then.
func TestSingleHomedClientsAreForgotten(t *testing.T) {
	for _, grow := range []bool{false, true} {
		f := newFleet(2, 0, 1)
		for i := range 20 {
			f.place(f.pods[i%2], &singleClient{key: "nat"}, false)
		}
		known := func() (n int) {
			for _, pod := range f.pods {
				s := f.states[pod]
				n += len(s.SingleHomed())
			}
			return n
		}
		f.run(2 * time.Minute)
		f.scale(4)
		f.resolveAll()
		f.run(30 * time.Second)
		if n := known(); n != 1 {
			t.Fatalf("got %d pods that know the address as single-homed, want only the one that drained it", n)
		}
		if grow {
			f.scale(5)
			f.run(f.policy.Settle + time.Second)
		} else {
			f.run(longServing)
		}
		if n := known(); n != 0 {
			t.Errorf("grow %v: got %d pods that still know the address as single-homed, want none", grow, n)
		}
	}
}
