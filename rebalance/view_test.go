package rebalance

import (
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// A rollout that begins and a pod that stops reach planning.
func TestRolloutsReachPlanning(t *testing.T) {
	t.Setenv("POD_REVISION", "one")
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b, halt := halting(t, src)
		src.set(pods("198.18.0.1", "198.18.0.2"))
		synctest.Wait()
		halt()
		hear := func(addr, revision string, ready bool) {
			b.peers.Record(addr, peerz.Report{Pod: addr, Ready: ready, UptimeMillis: 1, Place: peerz.Place{Revision: revision}}, nil)
		}
		want := func(when string, revisions int, stopping ...string) {
			t.Helper()
			if v, _ := b.view(); v.Revisions != revisions || !slices.Equal(v.Stopping, stopping) {
				t.Errorf("%s: %d revisions, %v stopping, want %d and %v", when, v.Revisions, v.Stopping, revisions, stopping)
			}
		}
		hear("198.18.0.2", "one", true)
		want("at rest", 1)
		b.peers.Update(pods("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		want("a new pod has not reported", 0)
		hear("198.18.0.3", "two", true)
		want("it runs another revision", 2)
		hear("198.18.0.2", "one", false)
		want("an old pod stops", 2, "198.18.0.2")
		b.peers.Update(pods("198.18.0.1", "198.18.0.3"))
		want("it has gone", 2)
	})
}

// Planning learns of clients that go by themselves, and of each connection's rate of requests,
// whatever the weight.
func TestClientsReachPlanning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := crowded(t, 2, "")
		departs := trackStreams(t, b, 1)
		departed := func() uint64 {
			var v plan.View
			cfg := config.Default()
			b.addLoads(&v, &cfg)
			return v.Departed
		}
		if n := departed(); n != 0 {
			t.Errorf("%d departed clients, want none", n)
		}
		departs.OnClose(h2conn.ByClient)
		if n := departed(); n != 1 {
			t.Errorf("%d departed clients, want 1", n)
		}
		trackStreams(t, b, 4)
		time.Sleep(time.Second)
		b.sample()
		rates := 0.0
		for _, c := range b.plannedConns(config.WeightConnections) {
			rates += c.Rate
		}
		if rates != 4 {
			t.Errorf("the connections have %v requests a second, want 4", rates)
		}
	})
}

// deafClients connects n clients that go on in spite of a GOAWAY, and returns what closes their
// connections.
func deafClients(b *Balancer, n int) (closeAll func()) {
	var all []net.Conn
	for i := range n {
		nc := b.reg.Add(&deafConn{}, clientIP(i))
		begin(nc, h2conn.InUse)
		all = append(all, nc)
	}
	return func() {
		for _, nc := range all {
			nc.Close()
		}
	}
}

// While a round only keeps its pace, no step visits the connections: with many of them, each
// visit costs more than all the GOAWAYs that it sends.
func TestPacingVisitsNoConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b, halt := halting(t, src)
		defer deafClients(b, 50)()
		src.set(pods("198.18.0.1"))
		time.Sleep(time.Minute)
		keepReporting(t, b, "198.18.0.2")
		src.set(pods("198.18.0.1", "198.18.0.2"))
		for b.Status().Draining < 10 {
			time.Sleep(10 * time.Millisecond)
		}
		halt()
		if n := b.Status().Draining; n > 20 || !b.loop.state.Pacing(&plan.View{Members: []string{"198.18.0.1", "198.18.0.2"}}) {
			t.Fatalf("%d of 50 connections drained, and the round does not keep its pace", n)
		}
		if v, _ := b.view(); len(v.Conns) > 0 {
			t.Errorf("a step of a round visited %d connections", len(v.Conns))
		}
		cfg := b.Config()
		cfg.Rebalance.DryRun = true
		if err := b.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		if v, _ := b.view(); len(v.Conns) != 50 {
			t.Errorf("a dry run that begins in a round, and decides it again, got %d connections", len(v.Conns))
		}
		b.loop.state = plan.State{}
		if v, _ := b.view(); len(v.Conns) != 50 {
			t.Errorf("a first step got %d connections, want all 50", len(v.Conns))
		}
	})
}

// The same while a pod that is out of the Service drains its clients; and once these are
// drained, it looks for others.
func TestAnEvacuationVisitsNoConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b, halt := halting(t, src)
		defer deafClients(b, 50)()
		keepReporting(t, b, "198.18.0.2", "198.18.0.3")
		src.set(pods("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		time.Sleep(time.Minute)
		src.set(pods("198.18.0.2", "198.18.0.3"))
		for b.Status().Draining < 10 {
			time.Sleep(10 * time.Millisecond)
		}
		halt()
		v, _ := b.view()
		if n := b.Status().Draining; n > 20 || v.Out == "" || len(v.Conns) > 0 {
			t.Errorf("%d of 50 connections drained, out of the Service: %q: a step visited %d connections", n, v.Out, len(v.Conns))
		}
		var wg sync.WaitGroup
		for b.Status().Draining < 50 {
			time.Sleep(10 * time.Millisecond)
			b.step(t.Context(), &wg)
		}
		wg.Wait()
		if v, _ := b.view(); len(v.Conns) != 50 {
			t.Errorf("after the last GOAWAY a step got %d connections, want all 50", len(v.Conns))
		}
	})
}

// The view waits for 30 s until a pod counts as out of the Service. Planning does not wait any
// longer, and says what it does.
func TestEvacuationBeginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		defer deafClients(b, 10)()
		keepReporting(t, b, "198.18.0.2", "198.18.0.3")
		src.set(pods("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		time.Sleep(time.Minute)
		src.set(pods("198.18.0.2", "198.18.0.3"))
		time.Sleep(29 * time.Second)
		if n := b.Status().Draining; n != 0 {
			t.Errorf("%d connections drained before it is certain that the pod is out", n)
		}
		time.Sleep(3 * time.Second)
		if s := b.Status(); s.Verdict != OutOfService || s.Draining != 10 {
			t.Errorf("3 s later: %d draining, %s: %s", s.Draining, s.Verdict, s.Why)
		}
	})
}

// The age of the view counts from the last good report of the source.
func TestViewAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{}
		b := started(t, src, nil)
		synctest.Wait()
		if age := b.Status().ViewAge; age != nil {
			t.Errorf("got an age of %v before the first view", *age)
		}
		src.set(pods("198.18.0.1"))
		time.Sleep(7 * time.Second)
		if age := b.Status().ViewAge; age == nil || *age != 7 {
			t.Errorf("got %v, want 7", age)
		}
	})
}
