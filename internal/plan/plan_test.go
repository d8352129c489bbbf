package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
	"pgregory.net/rapid"
)

// Anything may happen in a row: growth in steps, pods that are removed, DNS that lags.
func TestAnyHistoryEndsEvenAndBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		channels := rapid.IntRange(1, 30).Draw(t, "channels")
		f := newFleet(rapid.IntRange(1, 4).Draw(t, "pods"), channels, rapid.IntRange(1, channels).Draw(t, "keys"))
		f.run(40 * time.Second)
		growths := 0
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			n := rapid.IntRange(1, 8).Draw(t, "scale to")
			if n > len(f.pods) {
				growths++
			}
			f.scaleTo(n)
			f.run(time.Duration(rapid.IntRange(0, 20).Draw(t, "dns lag")) * time.Second)
			f.resolveAll()
			f.run(time.Duration(rapid.IntRange(0, 120).Draw(t, "pause")) * time.Second)
		}
		f.run(12 * time.Minute)
		// Behind one address nothing shows which channel has not come: after a flap three
		// rounds may guess wrong. Then a pod must report it.
		if !f.unreached() {
			f.wantOnAll(t)
		}
		for i, c := range f.channels {
			// One each, and a second if growths are so close that resolvers still wait.
			if c.goaways > 2*growths {
				t.Errorf("channel %d got %d GOAWAYs for %d growths (%v)", i, c.goaways, growths, f.goaways)
			}
		}
	})
}

func TestKillSwitchStopsAtOnceAndKeepsTheAge(t *testing.T) {
	f := newFleet(2, 200, 200)
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.run(3 * time.Second)
	before := f.goaways[reason.Reach]
	if before == 0 || before == 200 {
		t.Fatalf("got %d of 200 GOAWAYs before the switch, want it in the middle of the round", before)
	}
	f.policy.Enabled = false
	f.policy.MaxAge = time.Minute
	f.run(5 * time.Minute)
	if more := f.goaways[reason.Reach] - before; more != 0 {
		t.Errorf("got %d more GOAWAYs after the switch, want none", more)
	}
	if f.goaways[reason.Age] == 0 {
		t.Error("the backstop age stopped too")
	}
	if got := f.verdicts["10.0.0.01"]; got != Disabled {
		t.Errorf("got verdict %s, want disabled", got)
	}
}

// A stale view suspends a growth. It counts again afterwards, since a minute without a view
// says nothing about the clients: those that were drained before are on the new pod by then,
// and nobody is drained twice.
func TestStaleViewSuspendsTheGrowth(t *testing.T) {
	for _, away := range []time.Duration{time.Second, time.Minute, 10 * time.Minute} {
		f := newFleet(2, 200, 200)
		f.run(time.Minute)
		f.scale(4)
		f.resolveAll()
		f.run(3 * time.Second)
		before := f.goaways[reason.Reach]
		if before == 0 || before == 200 {
			t.Fatalf("got %d of 200 GOAWAYs before the view is stale, want it in the middle of the round", before)
		}
		f.stale = true
		f.run(away)
		f.wantVerdicts(t, Stale)
		if got := f.goaways[reason.Reach]; got != before {
			t.Errorf("%v away: got %d GOAWAYs on a stale view, want none", away, got-before)
		}
		f.stale = false
		f.run(5 * time.Minute)
		f.wantOnAll(t)
		for _, c := range f.channels {
			if c.goaways != 1 {
				t.Fatalf("%v away: a channel got %d GOAWAYs, want 1", away, c.goaways)
			}
		}
	}
}

// The benchmark has 10,000 connections and 50 pods: the moments at which planning looks at
// every connection, and the seconds in between. The number of allocations must not grow
// with the connections: compare with conns=1000.
func BenchmarkPlan(b *testing.B) {
	for _, conns := range []int{1000, 10_000} {
		v, p := benchView(50, conns)
		grown := *v
		v.Members = v.Members[:49]
		s, _ := Next(State{}, v, p)
		s, _ = Next(s, &grown, p)
		b.Run(fmt.Sprintf("at=growth/conns=%d", conns), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g := *s.growth
				g.phase, g.round = atGate, 1
				c := s
				c.growth = &g
				Next(c, &grown, p)
			}
		})
		s.growth = nil
		b.Run(fmt.Sprintf("at=rest/conns=%d", conns), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Next(s, &grown, p)
			}
		})
		full := grown
		full.Load *= 1.3
		b.Run(fmt.Sprintf("at=uneven/conns=%d", conns), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := s
				c.even.out, c.even.outSince, c.members.begunAt = true, 0, 0
				if _, st := Next(c, &full, p); st.Query == nil {
					b.Fatal("no connection was chosen: " + st.Why)
				}
			}
		})
	}
}

// benchView is the view of one of many pods that are equally full.
func benchView(pods, conns int) (*View, *Policy) {
	v := &View{Now: time.Hour, Load: float64(conns), Serving: conns}
	for i := range pods {
		pod := fmt.Sprintf("10.0.0.%02d", i)
		v.Members = append(v.Members, pod)
		if i > 0 {
			v.Peers = append(v.Peers, Peer{Pod: pod, Age: time.Second / 2, Load: v.Load})
		}
	}
	v.Self = v.Members[0]
	for i := range conns {
		v.Conns = append(v.Conns, Conn{ID: uint64(i + 1), Key: fmt.Sprintf("10.1.%d.%d", i/250, i%250), Weight: 1})
	}
	return v, &Policy{
		Enabled: true, MaxPerSecond: 100, MaxFractionPerMinute: 1, Spread: time.Second, MaxRounds: 3,
		CheckAfter: DefaultCheckAfter, Tolerance: 0.1, Floor: 0.7, Whole: true, Cooldown: 30 * time.Second,
	}
}
