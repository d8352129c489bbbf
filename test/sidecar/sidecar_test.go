package sidecar

import (
	"flag"
	"testing"
	"time"
)

const channels = 20

// The article's experiment: 2 pods become 5, and 2 again. Each channel gets one GOAWAY, and no
// call fails.
func TestScaleBeforeGo(t *testing.T) {
	t.Parallel()
	scale(t, 1, []string{goServer})
}

func TestScaleBeforePython(t *testing.T) {
	t.Parallel()
	scale(t, 2, python(t))
}

func TestScaleBeforeNode(t *testing.T) {
	t.Parallel()
	scale(t, 3, node(t))
}

func TestScaleBeforeJava(t *testing.T) {
	t.Parallel()
	scale(t, 4, java(t))
}

func scale(t *testing.T, network int, server []string) {
	t.Helper()
	s := newService(t, network, server)
	s.grow(t, 2)
	cs := startClients(t, s, channels, 200*time.Millisecond)
	eventually(t, 30*time.Second, "the clients are not on both pods", func() bool { return cs.onAll(2) })
	// What is there when a pod first sees the service is no growth.
	eventually(t, 30*time.Second, "the pods do not know each other", func() bool { return s.joined(t) })
	begun := time.Now()
	s.grow(t, 3)
	eventually(t, 90*time.Second, "the clients are not on all five pods", func() bool { return cs.onAll(5) })
	took := time.Since(begun)
	time.Sleep(5 * time.Second) // for GOAWAYs that must not come
	if n := s.goAways(t, ""); n != channels {
		t.Errorf("%d GOAWAYs for %d channels, want one each", n, channels)
	}
	var drains []time.Duration
	for range 3 {
		drains = append(drains, s.stopLast(t).Round(time.Millisecond))
	}
	if !cs.onAll(2) {
		eventually(t, 30*time.Second, "the clients are not on the two pods that are left", func() bool { return cs.onAll(2) })
	}
	calls, streams := cs.check(t)
	t.Logf("on all five pods %.1f s after they were started; 3 pods drained in %v; %d calls, %d streams", took.Seconds(), drains, calls, streams)
}

// churnFor is how long the churn goes on.
var churnFor = flag.Duration("churn", 20*time.Second, "how long connections are drained again and again")

// Connections that are drained every second lose no call, whichever server is behind the sidecar.
func TestChurnBeforeGo(t *testing.T)     { churn(t, 5, []string{goServer}) }
func TestChurnBeforePython(t *testing.T) { churn(t, 6, python(t)) }
func TestChurnBeforeNode(t *testing.T)   { churn(t, 7, node(t)) }
func TestChurnBeforeJava(t *testing.T)   { churn(t, 8, java(t)) }

func churn(t *testing.T, network int, server []string) {
	t.Helper()
	t.Parallel()
	s := newService(t, network, server, "-set", "policy.maxConnectionAge=1s", "-set", "rebalance.maxFractionPerMinute=1", "-set", "rebalance.maxPerSecond=1000")
	s.grow(t, 2)
	cs := startClients(t, s, channels, 2*time.Millisecond)
	eventually(t, 30*time.Second, "the clients are not on both pods", func() bool { return cs.onAll(2) })
	time.Sleep(*churnFor)
	calls, streams := cs.check(t)
	n := s.goAways(t, "age")
	t.Logf("%d calls, %d streams, %d GOAWAYs", calls, streams, n)
	if n < channels {
		t.Errorf("%d GOAWAYs, want at least one for each of %d channels", n, channels)
	}
}
