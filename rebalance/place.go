package rebalance

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// place returns where this pod stands in the membership, for its peers.
func (b *Balancer) place() peerz.Place {
	return peerz.Place{
		Zone: b.zone(), Revision: b.opts.revision, Out: b.ready() && b.peers.Out(), SaltCheck: b.peers.Hasher().SaltCheck(),
	}
}

// zone returns the zone in which this pod runs, empty if it is not known.
func (b *Balancer) zone() string { return cmp.Or(b.opts.zone, b.peers.OwnZone()) }

// watchPlace sets or clears the conditions that follow from the membership.
func (b *Balancer) watchPlace(v *plan.View, p *plan.Policy) {
	b.conds.set(outOfService, outText(v.Out))
	b.conds.set(otherSalt, b.peers.OtherSalts())
	b.conds.set(zoneShort, zoneText(v, p))
}

func outText(out string) string {
	return onlyIf(out != "", out+": its readiness probe fails, or its labels no longer match the Service. "+
		"It serves clients that still come, and drains its connections unless more than half of the pods are out")
}

// zoneLoad is what the pods of one zone carry.
type zoneLoad struct {
	pods        int
	load, share float64
}

func (z *zoneLoad) add(load, share float64) {
	z.pods++
	z.load += load
	z.share += cmp.Or(share, 1)
}

// zoneLoads returns the loads of the zones and of all pods together, of those whose loads are
// known.
func zoneLoads(v *plan.View) (zones map[string]*zoneLoad, all zoneLoad) {
	zones = make(map[string]*zoneLoad)
	add := func(pod string, load, share float64) {
		zone, ok := v.Zones[pod]
		if !ok {
			return
		}
		if zones[zone] == nil {
			zones[zone] = &zoneLoad{}
		}
		zones[zone].add(load, share)
		all.add(load, share)
	}
	add(v.Self, v.Load, v.Share)
	for i := range v.Peers {
		add(v.Peers[i].Pod, v.Peers[i].Load, v.Peers[i].Share)
	}
	return zones, all
}

// zoneText is about the zone with the highest load per share, if it is above the fleet's band.
// Its clients reach pods of their own zone only, so no move can help them.
func zoneText(v *plan.View, p *plan.Policy) string {
	if len(v.Zones) < 2 || v.Stale != "" || !plan.Enough(len(v.Peers), len(v.Zones)-1) {
		return ""
	}
	zones, all := zoneLoads(v)
	worst, per, mean := "", 0.0, all.load/all.share
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		if z := zones[name]; z.load/z.share > per {
			worst, per = name, z.load/z.share
		}
	}
	if per <= mean*(1+p.Tolerance) || p.Whole && per < mean+1 {
		return ""
	}
	return fmt.Sprintf("zone %q has too few pods: its %s %.1f times the fleet's mean load, and clients reach pods of their own zone only "+
		"(EndpointSlice hints), so nothing can be moved there: add pods in that zone, or remove trafficDistribution from the Service",
		worst, carryCounted(zones[worst].pods), per/mean)
}

func carryCounted(pods int) string {
	if pods == 1 {
		return "pod carries"
	}
	return counted(pods, "pod") + " carry"
}

// fewConnections is how many connections may come from one address without being noted.
const fewConnections = 8

// oneAddressText is about connections that all come from one address, or from this machine.
func (b *Balancer) oneAddressText() string {
	n, from, local := 0, "", true
	one := true
	b.reg.EachKey(func(key string, serving int) bool {
		addr, err := netip.ParseAddr(key)
		loopback := err == nil && addr.IsLoopback()
		one = err == nil && (from == "" || local && loopback)
		n, from, local = n+serving, key, local && loopback
		return one
	})
	if !one || n < fewConnections {
		return ""
	}
	whence := from + " alone, so a NAT or a proxy may stand before several clients"
	if local {
		whence = "this machine (" + from + "), so a sidecar or a proxy of the pod passes them on"
	}
	return fmt.Sprintf("all %d connections come from %s, and count as one client: "+
		"their number is still evened out, but clients that already know all pods cannot be recognized. "+
		"If they send a header that names them, call rebalance.SetKey with it in handlers", n, whence)
}
