package singlehomed

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	faultPods    = 4
	faultClients = 20
	// staleWithin is far longer than needed: reports are acted upon for 10 s, and a condition
	// shows after it has held for 10 s.
	staleWithin = time.Minute
)

// fault makes some pods unreachable for their peers while most clients are on pod 1.
type fault struct {
	name  string
	block func(from, to int) bool
	// stale are the pods that reach at most half of the others.
	stale []string
	// deaf are the pods that cannot reach at least one other.
	deaf []string
	// moves is set if pod 1 reaches enough pods to rebalance in spite of the fault.
	moves bool
}

func faults() []fault {
	one := func(from, _ int) bool { return from == 1 }
	other := func(_, to int) bool { return to == 1 }
	return []fault{
		{
			name: "one pod cannot reach the others", block: one,
			stale: []string{"pod-1"}, deaf: []string{"pod-1"},
		},
		{
			name: "the others cannot reach one pod", block: other,
			deaf: []string{"pod-2", "pod-3", "pod-4"}, moves: true,
		},
		{
			name:  "one pod is cut off in both directions",
			block: func(from, to int) bool { return one(from, to) || other(from, to) },
			stale: []string{"pod-1"}, deaf: []string{"pod-1", "pod-2", "pod-3", "pod-4"},
		},
		{
			name:  "no pod can reach another",
			block: func(int, int) bool { return true },
			stale: []string{"pod-1", "pod-2", "pod-3", "pod-4"}, deaf: []string{"pod-1", "pod-2", "pod-3", "pod-4"},
		},
	}
}

// A pod that reaches at most half of the others drains nothing and reports this. It recovers by
// itself once it reaches them again.
func TestPeersSilent(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of real time")
	}
	t.Parallel()
	for i, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t, 1+i)
		})
	}
}

func (f *fault) run(t *testing.T, netNumber int) {
	s := newService(t, loopback(netNumber))
	b := listenBalancer(t, s, netNumber, faultClients)
	health := gateHealth(t, s, faultPods)
	s.grow(t, faultPods)
	eventually(t, staleWithin, "the pods have not started rebalancing", func() bool { return !anyIs(s.statuses(t), rebalance.Stale, rebalance.Waiting) })

	health.shut(f.block)
	eventually(t, staleWithin, "no condition peers-silent", func() bool { return shows(s.statuses(t), "peers-silent", f.deaf) })
	eventually(t, staleWithin, "the wrong pods are stale", func() bool { return f.hasStale(s.statuses(t)) })

	c := lopsided(t, s, b)
	if f.moves {
		s.settle(t, evenWithin, c.counts)
		t.Logf("even in spite of the fault: %s, %d GOAWAYs", show(c.perPod()), rebalanced(s.statuses(t)))
	} else {
		f.hold(t, s)
	}

	open := time.Now()
	health.reopen()
	even := s.settle(t, evenWithin, c.counts)
	t.Logf("even %v after the end of the fault: %s, %d GOAWAYs", even.Sub(open).Round(100*time.Millisecond), show(c.perPod()), rebalanced(s.statuses(t)))
	eventually(t, staleWithin, "conditions remain after the fault has ended", func() bool {
		all := s.statuses(t)
		return shows(all, "peers-silent", nil) && shows(all, "stale-view", nil)
	})
	c.check(t)
}

// lopsided starts clients, most of them on pod 1. That pod is so far over-loaded that it must
// drain connections, but not all of them.
func lopsided(t *testing.T, s *service, b *tcpBalancer) *callers {
	t.Helper()
	const many = faultClients * 3 / 5
	b.set(t, backends(s)[:1])
	c := startCallers(t, b, 0, many)
	c.awaitAnswers(t)
	b.set(t, backends(s)[1:])
	c = c.join(startCallers(t, b, many, faultClients-many))
	c.awaitAnswers(t)
	b.set(t, backends(s))
	return c
}

// hold checks that no stale pod drains connections until each has shown its condition for a
// while.
func (f *fault) hold(t *testing.T, s *service) {
	t.Helper()
	start := time.Now()
	eventually(t, staleWithin, "no condition stale-view", func() bool {
		all := s.statuses(t)
		for i := range all {
			// Pods that reach each other may still rebalance among themselves.
			if n := rebalanced(all[i : i+1]); n > 0 && slices.Contains(f.stale, all[i].Pod) {
				t.Fatalf("%s sent %d GOAWAYs with a stale view", all[i].Pod, n)
			}
		}
		if !f.hasStale(all) {
			t.Fatal("the wrong pods are stale although the fault has not ended")
		}
		// Without the fault the first GOAWAY is sent after 2 s.
		return shows(all, "stale-view", f.stale) && shows(all, "peers-silent", f.deaf) && time.Since(start) > 8*time.Second
	})
}

func anyIs(all []rebalance.Status, verdicts ...rebalance.Verdict) bool {
	return slices.ContainsFunc(all, func(st rebalance.Status) bool { return slices.Contains(verdicts, st.Verdict) })
}

// shows reports whether exactly these pods have the condition.
func shows(all []rebalance.Status, code string, pods []string) bool {
	for i := range all {
		if hasCondition(&all[i], code) != slices.Contains(pods, all[i].Pod) {
			return false
		}
	}
	return true
}

// hasStale reports whether exactly the pods in f.stale are stale.
func (f *fault) hasStale(all []rebalance.Status) bool {
	for i := range all {
		if (all[i].Verdict == rebalance.Stale) != slices.Contains(f.stale, all[i].Pod) {
			return false
		}
	}
	return true
}

func backends(s *service) []string {
	var out []string
	for _, p := range s.pods {
		out = append(out, p.GRPC())
	}
	return out
}

// DNS lists a pod that answers nonsense on its health port. The others must not drain any
// connection because of it, and must still become even among themselves.
func TestFakePod(t *testing.T) {
	t.Parallel()
	const netNumber = 6
	s := newService(t, loopback(netNumber))
	b := listenBalancer(t, s, netNumber, 2*faultClients)
	s.grow(t, 3)
	b.set(t, backends(s))
	c := startCallers(t, b, faultClients, faultClients) // lopsided uses the lower numbers
	c.awaitAnswers(t)
	s.settle(t, evenWithin, c.counts)

	before := rebalanced(s.statuses(t))
	listFake(t, s)
	s.publish(t)
	// A real new pod would have got clients long before this condition shows.
	eventually(t, staleWithin, "no condition peers-silent", func() bool {
		all := s.statuses(t)
		if n := rebalanced(all) - before; n > 0 {
			t.Fatalf("got %d GOAWAYs for a fake pod, want 0", n)
		}
		return shows(all, "peers-silent", s.names())
	})

	c = c.join(lopsided(t, s, b))
	start := time.Now()
	even := s.settle(t, evenWithin, c.counts)
	n := rebalanced(s.statuses(t)) - before
	t.Logf("with a fake pod: even after %v: %s, %d GOAWAYs", even.Sub(start).Round(100*time.Millisecond), show(c.perPod()), n)
	if n == 0 {
		t.Error("got no GOAWAYs although pod 1 was over-loaded")
	}
	c.check(t)
}

// A service with a fake pod grows.
func TestGrowthBesideFakePod(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of real time")
	}
	t.Parallel()
	const netNumber = 10
	s := newService(t, loopback(netNumber))
	s.vip = listenBalancer(t, s, netNumber, clients)
	listFake(t, s)
	s.grow(t, 3)
	c := startCallers(t, s.vip, 0, clients)
	c.awaitAnswers(t)
	s.settle(t, evenWithin, c.counts)
	scaling{clients: clients, quiet: 5 * time.Second}.grow(t, s, c)
	// The fake pod may be the witness of a key, and must not make it look multi-homed.
	now := s.statuses(t)
	if n := goAways(now, "reach"); n > 0 {
		t.Errorf("got %d GOAWAYs of reason reach for single-homed clients, want 0", n)
	}
	if !shows(now, "peers-silent", s.names()) {
		t.Error("not all pods show the condition peers-silent")
	}
	c.check(t)
}

// listFake adds a fake pod to DNS from the next change on.
func listFake(t *testing.T, s *service) {
	t.Helper()
	talkNonsense(t, fmt.Sprintf("%s:%d", s.pod(most), s.ports.http))
	s.extra = []string{s.pod(most)}
}

// talkNonsense answers each connection with bytes that are not HTTP.
func talkNonsense(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "\x00\x01 I am no pod \xff\r\n\r\n")
			c.Close()
		}
	}()
}
