package rebalance

import (
	"fmt"
	"time"
)

// watchConns sets or clears the conditions that follow from the connections alone. Status
// calls it too, so that they come and go where Run is not called.
func (b *Balancer) watchConns() {
	b.watchStrays()
	b.watchRun()
	b.watchSwitched()
	b.conds.set(slowDrain, b.slowText())
	b.conds.set(framesLost, b.framesLostText())
	b.conds.set(oneAddress, b.oneAddressText())
}

// ofLoop are the codes of the conditions that watchConditions alone sets.
var ofLoop = []string{
	staleView, unbalanceable, overloadedPod, dnsBehind, unreached, peersSilent, peersPort, duplicateName, twoBalancers, noConnections,
	outOfService, otherSalt, zoneShort, shareInvalid,
}

// watchConditions sets or clears each condition by the present state.
func (b *Balancer) watchConditions() {
	b.watchConns()
	b.mu.Lock()
	verdict, why := b.verdict, b.why
	b.mu.Unlock()
	b.conds.set(staleView, onlyIf(verdict == Stale, "no connection is moved because the view of the other pods is stale: "+why))
	b.conds.set(unbalanceable, onlyIf(verdict == Unbalanceable, why))
	b.conds.set(overloadedPod, onlyIf(verdict == Overloaded, why))
	b.conds.set(dnsBehind, b.dnsText())
	b.conds.set(unreached, b.unreachedText())
	b.conds.set(peersSilent, b.peers.Silent())
	b.conds.set(peersPort, b.portText())
	b.conds.set(twoBalancers, b.severalText())
	b.conds.set(noConnections, b.quietText())
	b.conds.set(duplicateName, b.peers.Duplicates())
	b.conds.set(shareInvalid, b.loop.badShare)
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
	return "new pods get no connections until DNS lists all pods: " + gateText(gate) +
		"; check that clients.dns.name is the headless name that clients resolve"
}

func (b *Balancer) unreachedText() string {
	n := b.loop.state.Unreached()
	return onlyIf(n > 0, fmt.Sprintf("the clients of %d connections have not reached the new pods: "+
		"check whether their resolvers cache DNS answers for a long time and whether they use round_robin", n))
}

func (b *Balancer) portText() string {
	n := b.peers.Portless()
	return onlyIf(n > 0, fmt.Sprintf("%s not polled because the port of their health endpoints is not known: "+
		"serve with health.ListenAndServe, or pass health.WithPort to health.Handler, or set peers.port", areCounted(n, "peer")))
}

// slowDrainAfter is how long a drained connection may stay open before it is reported.
const slowDrainAfter = 5 * time.Minute

func (b *Balancer) slowText() string {
	n := b.reg.Slow(slowDrainAfter)
	return onlyIf(n > 0, fmt.Sprintf("%d connections were drained more than %v ago and still have streams open: "+
		"end long streams when rebalance.Draining closes, or set rebalance.grace to close these connections anyway", n, slowDrainAfter))
}

func (b *Balancer) framesLostText() string {
	n := b.reg.Lost()
	return onlyIf(n > 0, fmt.Sprintf("evenkeel cannot drain %s because it has lost track of the HTTP/2 frames there: "+
		"find out which client opens such connections, and file an issue", counted(n, "live connection")))
}
