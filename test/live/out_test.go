package live

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// notices is how long a pod that is missing from the Service takes to act on it: 30 s, and two
// walks over the other pods.
const notices = 30 * time.Second

// A pod is taken out of the Service while it lives. Its clients leave it, and no others move. There
// are so few pick_first clients that the two pods that stay are inside the band wherever these land:
// the mean of 49 and 40 connections is 44.5, and the band ends at 1.1 times that, rounded up.
func TestPodOutOfService(t *testing.T) {
	t.Parallel()
	s := newService(t, 1, exampleServer)
	s.grow(t, 3)
	spread := start(t, 40, "round_robin", s.target(), false, from(1, 1))
	both := spread.and(start(t, 9, "pick_first", s.target(), false, from(1, 101)))
	both.awaitAnswers(t)
	before := s.settle(t)
	t.Logf("%d GOAWAYs before; connections by the last call: %v", before, both.perPod())
	others := s.goAways(t, "pod-1", "pod-2")

	begun := time.Now()
	s.takeOut("pod-3")
	seen, early := time.Duration(0), 0
	gone := within(90*time.Second, func() bool {
		st := status(t, s.pod("pod-3"))
		if seen == 0 && st.Verdict == rebalance.OutOfService {
			seen = time.Since(begun)
			t.Logf("after %.1f s: %s: %s", seen.Seconds(), st.Verdict, st.Why)
		}
		if time.Since(begun) < notices {
			early = int(st.GoAways["evacuation"])
		}
		return st.Connections == 0
	})
	t.Logf("the clients were gone after %.1f s: %v", time.Since(begun).Seconds(), gone)
	switch st := status(t, s.pod("pod-3")); {
	case !gone:
		t.Errorf("pod-3 still has %d connections after %v", st.Connections, time.Since(begun))
	case seen == 0:
		t.Errorf("its verdict was never draining, and is %s: %s", st.Verdict, st.Why)
	case early > 0:
		t.Errorf("it drained %d connections within %v", early, notices)
	}
	left := time.Now().Add(time.Second)
	during(10*time.Second, func() {})
	if n := both.calls(left)["pod-3"]; n > 0 {
		t.Errorf("pod-3 answered %d calls after its clients were gone", n)
	}
	if n := s.goAways(t, "pod-1", "pod-2"); n != others {
		t.Errorf("the other pods drained %d connections, want none", n-others)
	}
	both.check(t)
}

// More than half of the pods are taken out of the Service at once. That is a fault of the
// Service rather than of the pods: nothing moves, and each of them says so.
func TestMostPodsOutOfService(t *testing.T) {
	t.Parallel()
	s := newService(t, 2, exampleServer)
	s.grow(t, 5)
	both := start(t, 20, "round_robin", s.target(), false, from(2, 1)).and(start(t, 20, "pick_first", s.target(), false, from(2, 101)))
	both.awaitAnswers(t)
	before := s.settle(t)
	out := []string{"pod-3", "pod-4", "pod-5"}
	begun := time.Now()
	s.takeOut(out...)
	shown := within(notices+60*time.Second, func() bool {
		for _, pod := range out {
			if st := status(t, s.pod(pod)); !condition(&st, "out-of-service") || !condition(&st, "unbalanceable") {
				return false
			}
		}
		return true
	})
	t.Logf("the conditions were shown after %.1f s: %v", time.Since(begun).Seconds(), shown)
	if !shown {
		t.Error("not all of the pods that are out show the conditions out-of-service and unbalanceable")
	}
	during(10*time.Second, func() {})
	if n := s.goAways(t); n != before {
		t.Errorf("%d connections were drained, want none", n-before)
	}
	both.check(t)
}
