package rebalance

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
	"github.com/evenkeel-go/evenkeel/peers"
)

// Server is what Shutdown needs of a *grpc.Server.
type Server interface {
	GracefulStop()
	Stop()
}

// Ready is false once Shutdown has begun.
func (b *Balancer) ready() bool {
	select {
	case <-b.stopping:
		return false
	default:
		return true
	}
}

// Stopping returns a channel that is closed when Shutdown begins.
func (b *Balancer) Stopping() <-chan struct{} { return b.stopping }

// Shutdown stops srv without failing an RPC, and returns when it has stopped, at the
// latest half a second after shutdown.timeout:
//
//  1. lame duck: not ready any more, still serving, until the peers' source and DNS
//     have forgotten this pod (a third of the time at most; not without a source);
//  2. every connection is asked to leave, spread over a third of the time at
//     most, each at a moment of chance: pods that stop together must not drain one
//     client at the same moment;
//  3. if clients resolve a DNS name, who comes back is served on: a resolver that has
//     looked lately rests for up to 30 s, and its client knows nobody else until then.
//     A rollout that is through sooner would leave it with no pod at all. This ends
//     with the last such client, or when a tenth of the time is left;
//  4. srv.GracefulStop for those that came back or stayed. A connection whose client has
//     not begun to speak HTTP/2 within a second is closed: the server would wait for it;
//  5. srv.Stop when the time is over, or ctx is done. Only this can fail RPCs. Handlers
//     have half a second to end then.
//
// It returns nil if srv stopped by itself, else context.DeadlineExceeded or ctx's
// error; srv may still wait then for a handler that does not end. A second call
// returns at once. Run should go on meanwhile, so that peers and people see how it
// goes.
func (b *Balancer) Shutdown(ctx context.Context, srv Server) error {
	first := false
	b.stopOnce.Do(func() { first = true; close(b.stopping) })
	if !first {
		return nil
	}
	timeout := b.Config().Shutdown.Timeout
	b.decided("shutdown", b.reg.Totals().Connections, "this pod stops within "+timeout.String())
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b.waitForgotten(ctx, timeout/3)
	b.drainSpread(ctx, timeout/3)
	b.serveReturned(ctx, timeout/10)
	return b.stopServer(ctx, srv, min(time.Second, timeout/20))
}

// handlersEnd is how long handlers have to end when their RPCs were cut off.
const handlersEnd = 500 * time.Millisecond

// stopServer lets what is under way finish. grpc waits for handshakes before it drains
// or cuts off anybody, and for handlers even in Stop: neither may take longer than the
// time given.
func (b *Balancer) stopServer(ctx context.Context, srv Server, patience time.Duration) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.GracefulStop()
	}()
	tick := time.NewTicker(forgottenPoll)
	defer tick.Stop()
	var cutOff error
	var late <-chan time.Time
	for over := ctx.Done(); ; {
		select {
		case <-done:
			return cutOff
		case <-late:
			return cutOff
		case <-tick.C:
			if n := b.reg.CloseSilent(patience); n > 0 {
				b.decided("shutdown", n, "connections on which no client spoke HTTP/2 were closed")
			}
		case <-over:
			over, late, cutOff, patience = nil, time.After(handlersEnd), ctx.Err(), 0
			go srv.Stop()
		}
	}
}

// forgottenPoll is how often it is looked whether others have forgotten this pod.
const forgottenPoll = 100 * time.Millisecond

// waitForgotten waits until no newcomer is sent here any more, also where nobody is
// connected yet: who is sent here next would find the port closed.
func (b *Balancer) waitForgotten(ctx context.Context, most time.Duration) {
	if b.opts.source == nil {
		return
	}
	own := b.ownAddrs()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(forgottenPoll)
	defer tick.Stop()
	for b.listed() || b.inDNS(ctx, own) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listed: the source lists this pod as serving. A static list always does and proves
// nothing.
func (b *Balancer) listed() bool {
	members, _, _ := b.peers.membership()
	return slices.ContainsFunc(members, func(m peers.Member) bool {
		return !m.Unproven && !m.Terminating && b.isSelf(&m)
	})
}

// ownAddrs are this pod's addresses, as far as it or the source knows them.
func (b *Balancer) ownAddrs() []netip.Addr {
	var own []netip.Addr
	if b.self.IsValid() {
		own = append(own, b.self)
	}
	members, _, _ := b.peers.membership()
	for i := range members {
		if b.isSelf(&members[i]) {
			own = append(own, members[i].Addrs...)
		}
	}
	return own
}

// inDNS: clients are still sent here. A DNS that cannot be asked is not waited for.
func (b *Balancer) inDNS(ctx context.Context, own []netip.Addr) bool {
	gate := b.clientDNS.gate.Load()
	if gate == nil {
		return false
	}
	addrs, err := b.clientDNS.resolver.Addrs(ctx, gate.Name())
	return err == nil && slices.ContainsFunc(own, func(a netip.Addr) bool { return slices.Contains(addrs, a) })
}

// drainSpread asks every connection, each at a moment of chance, and returns when all
// have been asked.
func (b *Balancer) drainSpread(ctx context.Context, most time.Duration) {
	all := b.reg.Serving()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	cfg := b.Config()
	window := min(most, max(cfg.Rebalance.Spread, time.Duration(float64(len(all))/cfg.Rebalance.MaxPerSecond*float64(time.Second))))
	start := time.Now()
	for _, at := range momentsIn(window, len(all)) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(start.Add(at))):
		}
		all[0].Drain(reason.Shutdown, "this pod is stopping", 0)
		all = all[1:]
	}
}

// returnWait is how long after the last GOAWAY a client that knows of no other pod may
// take to come back. It does at once.
const returnWait = time.Second

// serveReturned waits for the clients that came back after their GOAWAY to learn of
// others, and leaves some of the time.
func (b *Balancer) serveReturned(ctx context.Context, leave time.Duration) {
	if b.clientDNS.gate.Load() == nil {
		return
	}
	end, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, end.Add(-leave))
	defer cancel()
	tick := time.NewTicker(forgottenPoll)
	defer tick.Stop()
	for begun := time.Now(); ; {
		t := b.reg.Totals()
		serving := t.Connections - t.Draining
		if t.Connections == 0 || serving == 0 && time.Since(begun) > returnWait {
			return
		}
		select {
		case <-ctx.Done():
			b.decided("shutdown", serving, "clients that came back know of no other pod yet: the time is over")
			return
		case <-tick.C:
		}
	}
}

// momentsIn returns n moments of chance in [0, window), sorted.
func momentsIn(window time.Duration, n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(rand.Float64() * float64(window))
	}
	slices.Sort(out)
	return out
}
