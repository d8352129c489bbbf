package live

import (
	"math"
	"testing"
	"time"
)

const (
	// windowOf is the time over which calls are counted.
	windowOf = 10 * time.Second
	// leastShare is the least share of the calls that a new pod gets. Counting varies by 0.01.
	leastShare = 0.7 - 0.01
	// resolverRest is for how long grpc-go does not resolve again.
	resolverRest = 30 * time.Second
)

// shares returns each pod's calls over the mean, of the last seconds.
func shares(cs *clients, pods int) map[string]float64 {
	calls, sum, out := cs.calls(time.Now().Add(-windowOf)), 0, map[string]float64{}
	for _, n := range calls {
		sum += n
	}
	for i := range pods {
		pod := podName(i + 1)
		out[pod] = math.Round(100*float64(calls[pod])*float64(pods)/float64(max(sum, 1))) / 100
	}
	return out
}

// Half of the clients are idle. The new pods get their part of the calls, not connections that
// carry none.
func TestIdleAndBusyClients(t *testing.T) {
	t.Parallel()
	s := newService(t, 3, exampleServer)
	s.grow(t, 2)
	idle := start(t, 40, "pick_first", s.target(), true, from(3, 1))
	busy := start(t, 40, "pick_first", s.target(), false, from(3, 101))
	all := idle.and(busy)
	all.awaitAnswers(t)
	during(resolverRest, func() {}) // clients are older than that when pods are added
	before := s.settle(t)
	t.Logf("on two pods: idle %v, busy %v, %d GOAWAYs", idle.perPod(), busy.perPod(), before)
	begun := time.Now()
	s.grow(t, 2)
	good := 0
	enough := within(120*time.Second, func() bool {
		got := shares(busy, 4)
		if got["pod-3"] >= leastShare && got["pod-4"] >= leastShare {
			good++
		} else {
			good = 0
		}
		return good > int(5*time.Second/poll)
	})
	took := time.Since(begun)
	s.settle(t)
	got := shares(busy, 4)
	t.Logf("after %.1f s (%v); in the end: shares of the calls %v, busy %v, %d GOAWAYs", took.Seconds(), enough, got, busy.perPod(), s.goAways(t)-before)
	if !enough || got["pod-3"] < leastShare || got["pod-4"] < leastShare {
		t.Errorf("the shares are %v, want at least 0.7 on pod-3 and pod-4", got)
	}
	all.check(t)
}
