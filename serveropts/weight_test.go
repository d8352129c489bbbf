package serveropts_test

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// A connection that carries more than its pod's surplus stays, since moving it would only move
// the overload. The pod drains its other connections instead.
func TestHeavyClientStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingleHomed(t, func(c *config.Config) { c.Rebalance.Weight = config.WeightRequests })
		s.scale(2)
		time.Sleep(5 * time.Second)
		s.scale(3) // after a change it need not last for long
		s.steer(1)
		heavy := s.addOne(func() time.Duration { return 40 * time.Millisecond })
		s.add(3)
		s.steer(3)
		s.add(6)
		s.steer(2)
		s.add(6)
		time.Sleep(3 * time.Minute)
		if n := s.dialsOf(heavy); n != 1 {
			t.Errorf("the heavy client connected %d times, want once", n)
		}
		st := s.pods[0].bal.Status()
		if st.Connections != 1 || st.GoAways["even"] != 3 {
			t.Errorf("got %d connections and %d GOAWAYs on the heavy client's pod, want 1 and 3", st.Connections, st.GoAways["even"])
		}
		if st.Verdict != rebalance.Unbalanceable || !strings.Contains(st.Why, "carry more than this pod's excess") {
			t.Errorf("got %s: %s, want unbalanceable", st.Verdict, st.Why)
		}
		if n := s.goaways()["even"]; n != 3 {
			t.Errorf("got %d GOAWAYs from all pods, want 3 from the first", n)
		}
		s.wantNoneFailed()
		s.stop()
	})
}

// The loads by WithWeight must become even. The connection counts were even before, and no
// longer are.
func TestWeightByFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingleHomed(t, nil, rebalance.WithWeight(func(c rebalance.ConnStats) float64 {
			if netip.MustParseAddr(c.Key).As4()[3] <= 20 {
				return 3
			}
			return 1
		}))
		s.scale(2)
		time.Sleep(5 * time.Second)
		s.scale(3)
		for pod := range s.pods {
			s.steer(pod + 1)
			s.add(20)
		}
		s.steer(0)
		time.Sleep(3 * time.Minute)
		// The heaviest connection weighs 3, so a pod may be 3 beyond the band.
		const mean = (20*3 + 40) / 3.0
		for _, p := range s.pods {
			load := inside.Of(p.bal).Report(nil).Loads["custom"]
			if load < 0.7*mean || load > 1.1*mean+3 {
				t.Errorf("got a load of %v by WithWeight, want about %v: %s", load, mean, p.bal.Status().Why)
			}
		}
		if n := s.pods[0].bal.Status().Connections; n > 16 {
			t.Errorf("got %d connections on the pod of the heavy clients, want at most 16 of 20", n)
		}
		time.Sleep(9 * time.Minute) // until the change is over
		before := s.goaways()
		s.setPause(5 * time.Second)
		time.Sleep(3 * time.Minute)
		if after := s.goaways(); !maps.Equal(before, after) {
			t.Errorf("got GOAWAYs %v at the end, want no more than %v", after, before)
		}
		s.wantNoneFailed()
		s.stop()
	})
}

// While a pod is overloaded, its share shrinks slowly. It drains the connections beyond its
// share for reason overload, until it reaches its floor.
func TestOverloadShedsToTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingleHomed(t, nil)
		s.scale(1, rebalance.WithOverload(func() string { return "memory 95 %" }))
		s.scale(4)
		for pod := range s.pods {
			s.steer(pod + 1)
			s.add(10)
		}
		s.steer(0)
		time.Sleep(12 * time.Minute)
		first := s.pods[0].bal.Status()
		if n := first.GoAways["overload"]; first.Connections != 7 || n < 3 {
			t.Errorf("got %d connections and %d GOAWAYs of reason overload, want 7 and at least 3", first.Connections, n)
		}
		before := s.goaways()
		if before["overload"] != first.GoAways["overload"] {
			t.Errorf("got GOAWAYs %v, want those of reason overload only from the first pod", before)
		}
		s.setPause(5 * time.Second)
		time.Sleep(3 * time.Minute)
		if after := s.goaways(); !maps.Equal(before, after) {
			t.Errorf("got GOAWAYs %v at the end, want no more than %v", after, before)
		}
		s.wantNoneFailed()
		s.stop()
	})
}
