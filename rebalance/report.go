package rebalance

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Status returns the state at one moment, for /statusz, the metrics and the page.
func (b *Balancer) Status() Status {
	b.watchConns()
	t, loads := b.reg.Totals(), b.loadStatus()
	s := Status{
		Pod: b.opts.pod, Uptime: time.Since(b.begun).Round(time.Second).String(),
		Connections: t.Connections, Draining: t.Draining, Streams: t.Streams, Opened: t.Opened, Keys: t.Keys,
		Weight: loads.weight, Load: loads.own, MeanLoad: loads.mean, Band: loads.band,
		Share: peerz.Rounded(loads.shares.all()), Warm: peerz.Rounded(loads.shares.warm), Cores: loads.shares.cores,
		Source: "none", Peers: []PeerStatus{}, PeerErrors: b.peers.Errors(),
		GoAways: goawayCounts(t), Closed: closedCounts(t),
		Conditions: b.conds.list(), Tracked: t.Opened, Untracked: b.strays.count(), Ready: b.ready(),
		Zone: b.zone(),
	}
	cfg := b.inForce()
	s.ConfigRejected, s.Certificate = b.conds.holds(configInvalid), b.validity()
	if age, ok := b.peers.ViewAge(); ok {
		seconds := math.Round(age.Seconds()*10) / 10
		s.ViewAge = &seconds
	}
	s.Enabled, s.DryRun = cfg.Rebalance.Enabled, cfg.Rebalance.DryRun
	for _, row := range b.peers.Rows(loads.weight) {
		s.Peers = append(s.Peers, b.peerStatus(&row, &s))
	}
	if b.opts.source != nil {
		s.Source = b.opts.source.String()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Generation, s.Verdict, s.Why = b.generation, b.verdict, b.why
	for i := range s.Peers {
		if p := &s.Peers[i]; p.Self {
			p.Verdict, p.Why = s.Verdict, s.Why
		}
	}
	s.Decisions = slices.Clone(b.decisions)
	slices.Reverse(s.Decisions)
	s.Planned = maps.Clone(b.dry)
	s.Plans, s.PlanSeconds = b.plans, b.planTime.Seconds()
	return s
}

// peerStatus returns a row as /statusz has it. The row of this pod has its own figures.
func (b *Balancer) peerStatus(row *peerview.Row, s *Status) PeerStatus {
	if row.Self {
		load := s.Load
		return PeerStatus{
			Pod: s.Pod, Address: row.Address, Ready: s.Ready, Connections: s.Connections, Load: &load, Self: true,
			Share: s.Share, Warm: s.Warm, Zone: s.Zone,
		}
	}
	p := PeerStatus{
		Pod: row.Pod, Address: row.Address, Ready: row.Ready, Connections: row.Connections,
		Load: row.Load, Share: peerz.Rounded(row.Share), Warm: row.Warm, Age: seconds(row.Age), Zone: row.Zone,
		Verdict: Verdict(row.Judgment.Verdict), Why: row.Judgment.Why,
	}
	if row.Err != nil {
		p.Error = row.Err.Error()
	}
	return p
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

// report answers a peer's GET /peerz. A poll gets the totals of this pod, and a query the
// counts of the hashed keys that it names: it comes between polls, and to hundreds of pods.
func (b *Balancer) report(hashedKeys []string) peerz.Report {
	t := b.reg.Brief()
	r := peerz.Report{
		Pod: b.opts.pod, Ready: b.ready(), UptimeMillis: b.serving().Milliseconds(), Connections: t.Connections,
		Place: b.place(),
	}
	if len(hashedKeys) > 0 {
		r.Place = peerz.Place{Out: r.Out, SaltCheck: r.SaltCheck}
		b.mu.Lock()
		singleHomed := b.singleHomed
		b.mu.Unlock()
		b.keys.answer(&r, b.reg, b.peers.Hasher(), singleHomed, hashedKeys)
		return r
	}
	r.Draining, r.Streams = t.Draining, t.Streams
	b.mu.Lock()
	r.Generation, r.Reaching, r.Overloaded = b.generation, b.reaching, b.overload != ""
	r.Verdict = string(b.verdict)
	if b.verdict != Balanced { // it explains itself, and polls of large fleets count bytes
		r.Why = b.why
	}
	b.mu.Unlock()
	r.Loads = b.loadsByWeight()
	if r.Loads[config.WeightConnections] == float64(r.Connections-r.Draining) {
		delete(r.Loads, config.WeightConnections) // peerview.LoadOf fills it in, in every version
	}
	b.reportShare(&r)
	return r
}

// reportShare fills in what makes this pod's share. A part of 1 is left out.
func (b *Balancer) reportShare(r *peerz.Report) {
	cfg := b.inForce()
	own, _ := b.peers.Capacity()
	s := b.shares(&cfg)
	r.Cores, r.Share, r.Paused = own.Cores, own.Share, s.paused
	if s.warm < 1 {
		r.Warm = s.warm
	}
	if s.relief < 1 {
		r.Relief = s.relief
	}
	if s.inFlight > 0 {
		r.InFlight = map[string]float64{s.inFlightWeight: s.inFlight}
	}
}

// setHealthPort sets the port of this pod's health endpoint. Peers are polled on the same
// port unless peers.port is set.
func (b *Balancer) setHealthPort(port int) { b.peers.SetPort(port) }
