package rebalance

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/reason"
	"github.com/evenkeel-go/evenkeel/peers"
)

// Status is one look at everything, for /statusz, the metrics and the page.
func (b *Balancer) Status() Status {
	t, loads := b.reg.Totals(), b.loadStatus()
	s := Status{
		Pod: b.opts.pod, Uptime: time.Since(b.begun).Round(time.Second).String(),
		Connections: t.Connections, Draining: t.Draining, Streams: t.Streams, Opened: t.Opened, Keys: t.Keys,
		Weight: loads.weight, Load: loads.own, MeanLoad: loads.mean, Band: loads.band,
		Source: "none", Peers: b.peerStatus(t, loads), PeerErrors: b.peers.errorCounts(),
		GoAways: goawayCounts(t), Closed: closedCounts(t),
		Conditions: b.conds.list(), Tracked: t.Opened, Untracked: b.untracked.Load(), Ready: b.ready(),
	}
	if b.opts.source != nil {
		s.Source = b.opts.source.String()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Generation, s.Verdict, s.Why = b.generation, b.verdict, b.why
	s.Decisions = slices.Clone(b.decisions)
	slices.Reverse(s.Decisions)
	s.Plans, s.PlanSeconds = b.plans, b.planTime.Seconds()
	return s
}

func goawayCounts(t conns.Totals) map[string]uint64 {
	out := make(map[string]uint64)
	for _, r := range reason.All() {
		out[string(r)] = t.GoAways[r]
	}
	return out
}

func closedCounts(t conns.Totals) map[string]uint64 {
	return map[string]uint64{
		"client": t.Closed[h2conn.ByClient],
		"clean":  t.Closed[h2conn.Clean],
		"forced": t.Closed[h2conn.Forced],
		"server": t.Closed[h2conn.ByServer],
	}
}

func (p *peerBook) errorCounts() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.errors)
}

// peerStatus lists the pods that the source knows, this one with its own figures.
func (b *Balancer) peerStatus(t conns.Totals, l loadStatus) []PeerStatus {
	members, _, _ := b.peers.membership()
	out := make([]PeerStatus, 0, len(members))
	for i := range members {
		out = append(out, b.onePeer(&members[i], t, l))
	}
	slices.SortFunc(out, func(x, y PeerStatus) int { return strings.Compare(x.Address, y.Address) })
	return out
}

func (b *Balancer) onePeer(m *peers.Member, t conns.Totals, l loadStatus) PeerStatus {
	addr := slices.MinFunc(m.Addrs, netip.Addr.Compare)
	s := PeerStatus{Pod: m.Pod, Address: portText(addr, b.peerPort(m.Port))}
	if b.isSelf(m) {
		s.Pod, s.Ready, s.Connections, s.Self = b.opts.pod, b.ready(), t.Connections, true
		s.Load = &l.own
		return s
	}
	b.peers.mu.Lock()
	r := b.peers.reports[addr.String()]
	b.peers.mu.Unlock()
	if r.err != nil {
		s.Error = r.err.Error()
	}
	if !r.at.IsZero() {
		s.Pod, s.Connections = r.report.Pod, r.report.Connections
		s.Ready = r.report.Ready && r.err == nil
		s.Load, s.Age = l.ofReport(&r)
	}
	return s
}

// Report answers a peer that asks GET /peerz; hashedKeys are those it asks for.
func (b *Balancer) report(hashedKeys []string) peerz.Report {
	t := b.reg.Brief()
	r := peerz.Report{
		Pod: b.opts.pod, Ready: b.ready(), UptimeMillis: b.serving().Milliseconds(),
		Connections: t.Connections, Draining: t.Draining, Streams: t.Streams,
	}
	b.mu.Lock()
	r.Generation, r.Reaching, r.Overloaded = b.generation, b.reaching, b.overload != ""
	sticky := b.sticky
	b.mu.Unlock()
	r.Loads = b.loads()
	if len(hashedKeys) > 0 {
		b.peers.index.answer(&r, b.reg, b.peers.hasher, sticky, hashedKeys)
	}
	return r
}

// loads are the loads by every weight that is measured here, so that pods whose
// configuration differs for a moment still understand each other.
func (b *Balancer) loads() map[string]float64 {
	sums := b.reg.Loads()
	out := map[string]float64{
		config.WeightConnections: float64(sums.Connections), config.WeightRequests: sums.Requests, config.WeightStreams: sums.Streams,
	}
	if b.opts.weigh != nil {
		out[config.WeightCustom] = sums.Weight
	}
	return out
}

// How long a condition must have held before it shows.
const (
	holdStale  = 10 * time.Second
	holdDNS    = 30 * time.Second
	holdSilent = 10 * time.Second
	holdUneven = 30 * time.Second
)

// watchConditions holds the conditions against how things are now.
func (b *Balancer) watchConditions() {
	b.mu.Lock()
	verdict, why := b.verdict, b.why
	b.mu.Unlock()
	b.conds.set("stale-view", Warning, holdStale, onlyIf(verdict == Stale,
		"the view of the peers cannot be acted upon: "+why))
	b.conds.set("unbalanceable", Info, holdUneven, onlyIf(verdict == Unbalanceable, why))
	b.conds.set("overloaded", Warning, 0, onlyIf(verdict == Overloaded, why))
	b.conds.set("dns-behind", Warning, holdDNS, b.dnsBehind())
	b.conds.set("unreached", Warning, 0, onlyIf(b.state.Unreached() > 0, fmt.Sprintf(
		"clients of %d connections have not come to the pods added last: their resolver may cache for long, or they do not use round_robin",
		b.state.Unreached())))
	b.conds.set("peers-silent", Warning, holdSilent, b.silentText())
	b.conds.set("duplicate-name", Warning, 0, b.duplicateText())
	b.conds.set("slow-drain", Info, 0, b.slowText())
	b.conds.set("frames-lost", Warning, 0, b.framesLostText())
}

func onlyIf(cond bool, text string) string {
	if cond {
		return text
	}
	return ""
}

func (b *Balancer) dnsBehind() string {
	gate := b.clientDNS.gate.Load()
	if gate == nil {
		return ""
	}
	if s := gate.Status(); s.Wanted == 0 || s.Open {
		return ""
	}
	return "connections stay where they are until DNS answers in full: " + gateText(gate) +
		"; check that clients.dns.name is the headless name that clients resolve"
}

func (b *Balancer) silentText() string {
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	var silent []string
	many := len(b.peers.reports) > pollAll
	for id, r := range b.peers.reports {
		// Of many, each is asked again only after minutes: once is no news.
		if r.err != nil && (r.fails > 1 || !many) {
			silent = append(silent, fmt.Sprintf("%s (%v)", id, r.err))
		}
	}
	if len(silent) == 0 {
		return ""
	}
	slices.Sort(silent)
	n := len(silent)
	return fmt.Sprintf("%d of %d peers do not answer on their health port: %s", n, len(b.peers.reports), strings.Join(silent[:min(n, 3)], "; "))
}

// duplicateText names pods that go by one name: a person could not tell them apart.
func (b *Balancer) duplicateText() string {
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	by := map[string][]string{b.opts.pod: {"this one"}}
	for id, r := range b.peers.reports {
		if !r.at.IsZero() {
			by[r.report.Pod] = append(by[r.report.Pod], id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if ids := by[name]; len(ids) > 1 {
			slices.Sort(ids)
			return fmt.Sprintf("%d pods call themselves %q (%s): give each its own -name or $POD_NAME; they are told apart by address meanwhile",
				len(ids), name, strings.Join(ids, ", "))
		}
	}
	return ""
}

// slowDrain is how long a connection may take to leave before it is reported.
const slowDrain = 5 * time.Minute

func (b *Balancer) slowText() string {
	if n := b.reg.Slow(slowDrain); n > 0 {
		return fmt.Sprintf("%d connections were asked to leave more than %v ago and still have streams open: "+
			"set rebalance.grace to close them anyway, or end long streams when rebalance.Draining says so", n, slowDrain)
	}
	return ""
}

func (b *Balancer) framesLostText() string {
	if n := b.reg.Lost(); n > 0 {
		return fmt.Sprintf("on %d connections the HTTP/2 frames could not be followed; they are served but cannot be asked to leave", n)
	}
	return ""
}
