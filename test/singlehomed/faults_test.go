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
	// staleWithin is far above the 10 s for which reports are acted upon and the 10 s
	// that a condition must have held.
	staleWithin = time.Minute
)

// fault is some peers that cannot be asked, while all clients are on pod 1.
type fault struct {
	name  string
	block func(from, to int) bool
	// stale are the pods that hear less than half of the others, deaf those that do
	// not hear somebody.
	stale, deaf []string
	// moves: pod 1 hears enough and moves what it should, in spite of the fault.
	moves bool
}

func faults() []fault {
	one := func(from, _ int) bool { return from == 1 }
	other := func(_, to int) bool { return to == 1 }
	return []fault{
		{
			name: "one does not hear the others", block: one,
			stale: []string{"pod-1"}, deaf: []string{"pod-1"},
		},
		{
			name: "the others do not hear one", block: other,
			deaf: []string{"pod-2", "pod-3", "pod-4"}, moves: true,
		},
		{
			name:  "one is cut off both ways",
			block: func(from, to int) bool { return one(from, to) || other(from, to) },
			stale: []string{"pod-1"}, deaf: []string{"pod-1", "pod-2", "pod-3", "pod-4"},
		},
		{
			name:  "nobody hears anybody",
			block: func(int, int) bool { return true },
			stale: []string{"pod-1", "pod-2", "pod-3", "pod-4"}, deaf: []string{"pod-1", "pod-2", "pod-3", "pod-4"},
		},
	}
}

// Whoever does not hear more than half of the others moves nothing, says so, and goes
// on by itself once it hears them again.
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
	eventually(t, staleWithin, "the pods do not begin", func() bool { return !anyIs(s.look(t), rebalance.Stale, rebalance.Waiting) })

	health.shut(f.block)
	eventually(t, staleWithin, "no condition peers-silent", func() bool { return shows(s.look(t), "peers-silent", f.deaf) })
	eventually(t, staleWithin, "not stale", func() bool { return f.areStale(s.look(t)) })

	c := lopsided(t, s, b)
	if f.moves {
		s.settle(t, evenWithin, c.counts)
		t.Logf("in spite of the fault: %s, %d GOAWAYs", show(c.perPod()), moved(s.look(t)))
	} else {
		f.hold(t, s)
	}

	open := time.Now()
	health.reopen()
	even := s.settle(t, evenWithin, c.counts)
	t.Logf("even %v after the end of the fault: %s, %d GOAWAYs", even.Sub(open).Round(100*time.Millisecond), show(c.perPod()), moved(s.look(t)))
	eventually(t, staleWithin, "conditions are left", func() bool {
		all := s.look(t)
		return shows(all, "peers-silent", nil) && shows(all, "stale-view", nil)
	})
	c.check(t)
}

// lopsided brings clients most of which are on pod 1: so far above the band that it
// would be moved, and not so far that all would be.
func lopsided(t *testing.T, s *service, b *tcpBalancer) *callers {
	t.Helper()
	const many = faultClients * 3 / 5
	b.set(t, backends(s)[:1])
	c := startCallers(t, b, 0, many)
	c.come(t)
	b.set(t, backends(s)[1:])
	c = c.join(startCallers(t, b, many, faultClients-many))
	c.come(t)
	b.set(t, backends(s))
	return c
}

// hold watches that nothing is moved until every stale pod has said so for long enough
// for a person to see.
func (f *fault) hold(t *testing.T, s *service) {
	t.Helper()
	start := time.Now()
	eventually(t, staleWithin, "no condition stale-view", func() bool {
		all := s.look(t)
		for i := range all {
			// Those that still hear each other may even out among themselves.
			if n := moved(all[i : i+1]); n > 0 && slices.Contains(f.stale, all[i].Pod) {
				t.Fatalf("%d GOAWAYs of %s on a stale view", n, all[i].Pod)
			}
		}
		if !f.areStale(all) {
			t.Fatal("stale no longer, though nothing was mended")
		}
		// Without the fault the first GOAWAY comes after 2 s.
		return shows(all, "stale-view", f.stale) && shows(all, "peers-silent", f.deaf) && time.Since(start) > 8*time.Second
	})
}

func anyIs(all []rebalance.Status, verdicts ...rebalance.Verdict) bool {
	return slices.ContainsFunc(all, func(st rebalance.Status) bool { return slices.Contains(verdicts, st.Verdict) })
}

// shows: exactly these pods have the condition.
func shows(all []rebalance.Status, code string, pods []string) bool {
	for i := range all {
		if hasCondition(&all[i], code) != slices.Contains(pods, all[i].Pod) {
			return false
		}
	}
	return true
}

// areStale: exactly those pods are that should be.
func (f *fault) areStale(all []rebalance.Status) bool {
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

// A pod that is listed and answers nonsense on its health port changes nothing for the
// others: no client moves for it, and they become even beside it.
func TestFakePod(t *testing.T) {
	t.Parallel()
	const netNumber = 6
	s := newService(t, loopback(netNumber))
	b := listenBalancer(t, s, netNumber, 2*faultClients)
	s.grow(t, 3)
	b.set(t, backends(s))
	c := startCallers(t, b, faultClients, faultClients) // the first are for lopsided
	c.come(t)
	s.settle(t, evenWithin, c.counts)

	before := moved(s.look(t))
	listFake(t, s)
	s.tell(t)
	// Far longer than a real pod would stay empty.
	eventually(t, staleWithin, "no condition peers-silent", func() bool {
		all := s.look(t)
		if n := moved(all) - before; n > 0 {
			t.Fatalf("%d GOAWAYs for a pod that is none", n)
		}
		return shows(all, "peers-silent", s.names())
	})

	c = c.join(lopsided(t, s, b))
	start := time.Now()
	even := s.settle(t, evenWithin, c.counts)
	n := moved(s.look(t)) - before
	t.Logf("beside a fake: even after %v: %s, %d GOAWAYs", even.Sub(start).Round(100*time.Millisecond), show(c.perPod()), n)
	if n == 0 {
		t.Error("nothing had to be moved")
	}
	c.check(t)
}

// A service that has a fake pod grows.
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
	c.come(t)
	s.settle(t, evenWithin, c.counts)
	course{clients: clients, quiet: 5 * time.Second}.grow(t, s, c)
	// The fake is among those whom a pod might ask whether a client is spread.
	now := s.look(t)
	if n := goAways(now, "reach"); n > 0 {
		t.Errorf("%d sticky clients were taken for spread ones", n)
	}
	if !shows(now, "peers-silent", s.names()) {
		t.Error("no condition peers-silent")
	}
	c.check(t)
}

// listFake has DNS list, from the next change on, a pod that is none.
func listFake(t *testing.T, s *service) {
	t.Helper()
	talkNonsense(t, fmt.Sprintf("%s:%d", s.pod(most), s.ports.http))
	s.extra = []string{s.pod(most)}
}

// talkNonsense answers each connection with what is no HTTP.
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
