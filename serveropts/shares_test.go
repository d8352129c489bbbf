package serveropts_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// A pod with four times the share of the others gets four times as many connections. Then
// nothing moves.
func TestLargePodCarriesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingleHomed(t, nil)
		s.scale(1, rebalance.WithShare(func() float64 { return 4 }))
		s.scale(3)
		s.setPause(5 * time.Second)
		s.add(60)
		time.Sleep(4 * time.Minute)
		for i, share := range []float64{4, 1, 1} {
			st := s.pods[i].bal.Status()
			n := float64(st.Connections)
			if st.Share != share || st.MeanLoad != 10*share || n > st.Band.Over || n < st.Band.Under {
				t.Errorf("pod %d has %v connections with a share of %v, and the mean %v, want them inside %+v: %s", i+1, n, st.Share, st.MeanLoad, st.Band, st.Why)
			}
		}
		before := s.goaways()
		time.Sleep(10 * time.Minute)
		if after := s.goaways(); !maps.Equal(before, after) {
			t.Errorf("got GOAWAYs %v later, want no more than %v", after, before)
		}
		s.wantNoneFailed()
		s.stop()
	})
}

// New pods that warm up get multi-homed channels in steps, and each channel still gets one GOAWAY.
func TestNewPodsWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const channels, warmup = 50, time.Minute
		s := newService(t, func(c *config.Config) { c.Rebalance.Warmup = warmup })
		s.scale(4)
		time.Sleep(2 * warmup)
		for range channels {
			s.multiHomed(5 * time.Second)
		}
		time.Sleep(time.Minute)
		s.scale(6)
		for begun := time.Now(); time.Since(begun) < 4*time.Minute; time.Sleep(5 * time.Second) {
			st := s.pods[5].bal.Status()
			// Connections move whole, so two more are no surprise.
			if most := 1.2*st.Share*channels + 2; st.Load > most {
				t.Errorf("after %v: %v connections with a share of %v, want at most %v", time.Since(begun), st.Load, st.Share, most)
			}
		}
		for i, p := range s.pods {
			if st := p.bal.Status(); st.Connections != channels || st.Share != 1 {
				t.Errorf("pod %d: %d connections with a share of %v in the end, want %d and 1", i+1, st.Connections, st.Share, channels)
			}
		}
		if n := s.goaways()["reach"]; n != channels {
			t.Errorf("got %d GOAWAYs of reason reach for %d channels", n, channels)
		}
		s.wantNoneFailed()
		s.stop()
	})
}
