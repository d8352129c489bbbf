package rebalance

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// serveOn waits for shutdown.minimum. Load balancers that this pod cannot ask may send it
// clients for that long.
func (b *Balancer) serveOn(ctx context.Context, least time.Duration) {
	if least == 0 {
		return
	}
	b.decided("shutdown", 0, "this pod serves on for "+least.String()+" (shutdown.minimum)")
	select {
	case <-ctx.Done():
	case <-time.After(least):
	}
}

// waitForgotten waits until no new client is sent here. It waits even if no client is
// connected, since the next one would find the port closed.
func (b *Balancer) waitForgotten(ctx context.Context, most time.Duration) {
	if b.opts.source == nil {
		return
	}
	own := b.peers.OwnAddrs()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	for b.listed() || b.inDNS(ctx, own) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listed reports whether the source of peers lists this pod. Without Run nobody watches the
// source, and what it said last would hold forever.
func (b *Balancer) listed() bool {
	if b.running.Load() {
		return b.peers.Listed()
	}
	b.stop.blind.Do(func() {
		text := "Run has ended"
		if !b.ran.Load() {
			text = "Run was not called"
		}
		text += ", so this pod cannot wait until the source of peers no longer lists it: clients that are still sent here may fail. " +
			"Cancel the context of Run only after Shutdown has returned"
		b.opts.log.Error(text)
		b.decided("shutdown", 0, text)
	})
	return false
}

// inDNS reports whether DNS still sends clients here. It reports false if the DNS server
// does not answer, so that Shutdown does not wait for it.
func (b *Balancer) inDNS(ctx context.Context, own []netip.Addr) bool {
	gate := b.clientDNS.gate.Load()
	if gate == nil {
		return false
	}
	addrs, err := b.clientDNS.resolver.Addrs(ctx, gate.Name())
	return err == nil && slices.ContainsFunc(own, func(a netip.Addr) bool { return slices.Contains(addrs, a) })
}
