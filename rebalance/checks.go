package rebalance

import (
	"fmt"
	"time"
)

// watchConditions holds the conditions against how things are now.
func (b *Balancer) watchConditions() {
	b.mu.Lock()
	verdict, why := b.verdict, b.why
	b.mu.Unlock()
	b.conds.set(staleView, onlyIf(verdict == Stale, "nothing is moved on a stale view of the peers: "+why))
	b.conds.set(unbalanceable, onlyIf(verdict == Unbalanceable, why))
	b.conds.set(overloadedPod, onlyIf(verdict == Overloaded, why))
	b.conds.set(dnsBehind, b.dnsText())
	b.conds.set(unreached, b.unreachedText())
	b.conds.set(peersSilent, b.peers.Silent())
	b.conds.set(duplicateName, b.peers.Duplicates())
	b.conds.set(slowDrain, b.slowText())
	b.conds.set(framesLost, b.framesLostText())
}

func onlyIf(cond bool, text string) string {
	if cond {
		return text
	}
	return ""
}

func (b *Balancer) dnsText() string {
	gate := b.clientDNS.gate.Load()
	if gate == nil {
		return ""
	}
	if s := gate.Status(); s.Wanted == 0 || s.Open {
		return ""
	}
	return "connections stay where they are until DNS lists all pods: " + gateText(gate) +
		"; check that clients.dns.name is the headless name that clients resolve"
}

func (b *Balancer) unreachedText() string {
	n := b.loop.state.Unreached()
	return onlyIf(n > 0, fmt.Sprintf("the clients of %d connections have not connected to the newest pods: "+
		"their resolvers may cache for long, or they do not use round_robin", n))
}

// slowDrainAfter is how long a drained connection may stay open before it is reported.
const slowDrainAfter = 5 * time.Minute

func (b *Balancer) slowText() string {
	n := b.reg.Slow(slowDrainAfter)
	return onlyIf(n > 0, fmt.Sprintf("%d connections were drained more than %v ago and still have streams open: "+
		"set rebalance.grace to close them anyway, or end long streams when rebalance.Draining closes", n, slowDrainAfter))
}

func (b *Balancer) framesLostText() string {
	n := b.reg.Lost()
	return onlyIf(n > 0, fmt.Sprintf("on %d connections the HTTP/2 frames could not be followed: they are served but cannot be drained", n))
}
