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

// A connection that carries more than what its pod has too much stays: to move it would
// only move the hot spot. Those beside it make room.
func TestHeavyClientStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSticky(t, func(c *config.Config) { c.Rebalance.Weight = config.WeightRequests })
		s.scale(3)
		s.all(1)
		heavy := s.addOne(func() time.Duration { return 40 * time.Millisecond })
		s.add(3)
		s.all(3)
		s.add(6)
		s.all(2)
		s.add(6)
		time.Sleep(3 * time.Minute)
		if n := s.dialsOf(heavy); n != 1 {
			t.Errorf("the heavy client connected %d times", n)
		}
		st := s.pods[0].bal.Status()
		if st.Connections != 1 || st.GoAways["even"] != 3 {
			t.Errorf("%d connections and %d GOAWAYs on the heavy client's pod, want 1 and 3", st.Connections, st.GoAways["even"])
		}
		if st.Verdict != rebalance.Unbalanceable || !strings.Contains(st.Why, "carry more than this pod's excess") {
			t.Errorf("%s: %s", st.Verdict, st.Why)
		}
		if n := s.goaways()["even"]; n != 3 {
			t.Errorf("%d GOAWAYs of all pods, want those of the first", n)
		}
		s.wantNoneFailed()
		s.stop()
	})
}

// What WithWeight says is even at the end; by connections it was, and is not any more.
func TestWeightByFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSticky(t, nil, rebalance.WithWeight(func(c rebalance.ConnStats) float64 {
			if netip.MustParseAddr(c.Key).As4()[3] <= 20 {
				return 3
			}
			return 1
		}))
		s.scale(3)
		for pod := range s.pods {
			s.all(pod + 1)
			s.add(20)
		}
		s.all(0)
		time.Sleep(3 * time.Minute)
		// Nobody can give what is less than a connection: 3 at most beyond the band.
		const mean = (20*3 + 40) / 3.0
		for _, p := range s.pods {
			load := inside.Of(p.bal).Report(nil).Loads["custom"]
			if load < 0.7*mean || load > 1.1*mean+3 {
				t.Errorf("a load of %v by WithWeight, want about %v: %s", load, mean, p.bal.Status().Why)
			}
		}
		if n := s.pods[0].bal.Status().Connections; n > 16 {
			t.Errorf("%d connections on the pod of the heavy clients, which had 20", n)
		}
		before := s.goaways()
		s.every(5 * time.Second)
		time.Sleep(3 * time.Minute)
		if after := s.goaways(); !maps.Equal(before, after) {
			t.Errorf("%v GOAWAYs later on, want %v", after, before)
		}
		s.wantNoneFailed()
		s.stop()
	})
}

// An overloaded pod sheds down to its floor, for that reason, and stops.
func TestOverloadShedsToTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSticky(t, nil)
		s.scale(1, rebalance.WithOverload(func() string { return "memory 95 %" }))
		s.scale(4)
		for pod := range s.pods {
			s.all(pod + 1)
			s.add(10)
		}
		s.all(0)
		time.Sleep(2 * time.Minute)
		first := s.pods[0].bal.Status()
		if n := first.GoAways["overload"]; first.Connections != 7 || n < 3 {
			t.Errorf("%d connections and %d GOAWAYs for overload, want 7 and 3 or more", first.Connections, n)
		}
		before := s.goaways()
		if before["overload"] != first.GoAways["overload"] {
			t.Errorf("%v GOAWAYs, for overload by others than the one", before)
		}
		s.every(5 * time.Second)
		time.Sleep(3 * time.Minute)
		if after := s.goaways(); !maps.Equal(before, after) {
			t.Errorf("%v GOAWAYs later on, want %v", after, before)
		}
		s.wantNoneFailed()
		s.stop()
	})
}
