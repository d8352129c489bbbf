package rebalance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// view gathers what planning needs to know.
func (b *Balancer) view() (*plan.View, *plan.Policy) {
	cfg := b.inForce()
	v := &plan.View{Now: b.reg.Now(), NoPeers: b.noPeers(&cfg), Counts: b.peers.Counts()}
	seen := b.peers.View()
	v.Self, v.Stale, v.Out, v.OutPods = seen.Self, seen.Stale, seen.Out, seen.OutPods
	v.Starting, v.StartingKnown, v.Unheard = seen.Starting, seen.StartingKnown, seen.Unheard
	v.Terminating, v.Stopping, v.Revisions, v.Zones = seen.Terminating, seen.Stopping, seen.Revisions, seen.Zones
	for _, m := range seen.Members {
		v.Members = append(v.Members, m.ID)
	}
	slices.Sort(v.Members)
	if v.Stale == "" {
		b.beginServing()
		v.Restarted = b.peers.Restarted()
		v.Uptime = b.peers.Uptimes(v.Self, b.serving())
	}
	b.addLoads(v, &cfg)
	growing := v.NoPeers == "" && v.Stale == "" && cfg.Rebalance.Enabled && b.loop.state.Growing(v.Members)
	b.lookAtDNS(v, seen.Members, growing)
	weight := b.weight(&cfg)
	policy := policyOf(&cfg, weight)
	choosing := growing || v.Out != "" || b.loop.state.Due(v, policy)
	// While a round only waits for its pace, no step visits all connections. A dry run that begins
	// then drops the round and decides again.
	pacing := b.loop.state.Pacing(v) && !policy.DryRun
	if choosing && !pacing || cfg.Policy.MaxConnectionAge > 0 {
		v.Conns = b.plannedConns(weight)
	}
	return v, policy
}

// beginServing records when this pod first was a member.
func (b *Balancer) beginServing() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served.IsZero() {
		b.served = time.Now()
	}
}

// serving returns how long this pod has served. It counts from when the pod first was a
// member, since clients could not come before. The time to become ready does not count.
func (b *Balancer) serving() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served.IsZero() {
		return 0
	}
	return time.Since(b.served)
}

// addLoads fills in the loads of this pod and of the others.
func (b *Balancer) addLoads(v *plan.View, cfg *config.Config) {
	weight := b.weight(cfg)
	returns := b.reg.Returns()
	v.Load, v.Serving = b.load(weight)
	if weight == config.WeightRequests {
		v.Streams, _ = b.load(config.WeightStreams)
	}
	v.Departed = b.reg.Departed()
	v.InFlight = b.inFlight(weight)
	v.Overloaded = b.overload
	share := b.shares(cfg)
	v.Share, v.Warm = share.capacity*share.warm, share.warm
	v.Returns = plan.Returns{Drained: returns.Drained, Returned: returns.Returned, Away: returns.Away}
	if v.Stale == "" {
		v.Peers = b.peers.Peers(weight, v.Self)
	}
}

func (b *Balancer) noPeers(cfg *config.Config) string {
	if b.opts.source == nil {
		return fmt.Sprintf("no connection is moved because there is no source of peers: peers.source is %q, and rebalance.WithPeers was not given",
			cfg.Peers.Source)
	}
	return ""
}

func policyOf(cfg *config.Config, weight string) *plan.Policy {
	r := &cfg.Rebalance
	return &plan.Policy{
		Enabled: r.Enabled, DryRun: r.DryRun, Settle: r.Settle, Spread: r.Spread, Cooldown: r.Cooldown,
		MaxPerSecond: r.MaxPerSecond, MaxFractionPerMinute: r.MaxFractionPerMinute,
		CheckAfter: plan.DefaultCheckAfter, MaxRounds: plan.DefaultMaxRounds,
		MaxAge:    cfg.Policy.MaxConnectionAge,
		Tolerance: r.Tolerance, Floor: r.Floor, Whole: weight == config.WeightConnections,
	}
}

// plannedConns fills the loop's buffer with the connections, as planning sees them. Health
// checks are no clients.
func (b *Balancer) plannedConns(weight string) []plan.Conn {
	buf := b.loop.conns[:0]
	b.reg.Each(func(i *conns.Info) {
		if i.Use == h2conn.Probed {
			return
		}
		buf = append(buf, plan.Conn{
			ID: i.ID, Key: i.Key, Opened: i.Opened, Returned: i.Returned, Draining: i.Draining,
			Weight: weightBy(weight, i), Streams: i.Streams, FutileDrains: i.FutileDrains, Named: i.Named,
			Rate: i.RequestRate, Single: i.HTTP1,
		})
	})
	b.loop.conns = buf
	return buf
}

// lookAtDNS tells the gate which members to look for before it reads the gate's state, so
// that an answer for other members never counts.
func (b *Balancer) lookAtDNS(v *plan.View, members []peerview.Member, growing bool) {
	gate := b.clientDNS.gate.Load()
	if gate == nil {
		return
	}
	if !growing {
		gate.Want(nil)
		// The gate is closed, not absent, so that a growth found in this very step waits, too.
		v.Gate = plan.Gate{Needed: true, Why: gate.Name() + " has not been resolved yet"}
		return
	}
	var groups [][]netip.Addr
	for _, m := range members {
		groups = append(groups, m.Addrs)
	}
	gate.Want(groups)
	s := gate.Status()
	v.Gate = plan.Gate{Needed: true, Open: s.Open, Why: gateText(gate)}
	if s.Open {
		v.Gate.OpenSince = b.reg.At(s.OpenSince)
	}
}

// gateText describes what DNS still lacks.
func gateText(gate *lookup.Gate) string {
	s := gate.Status()
	switch {
	case s.Err != nil:
		return fmt.Sprintf("%s cannot be resolved: %v", gate.Name(), s.Err)
	case len(s.Missing) > 0:
		return fmt.Sprintf("%s lists %d of %d pods (missing: %s)", gate.Name(), s.Wanted-len(s.Missing), s.Wanted, someAddrs(s.Missing))
	}
	return gate.Name() + " must list all pods in several answers in a row"
}

func someAddrs(addrs []netip.Addr) string {
	var out []string
	for i, a := range addrs {
		if i == 5 {
			out = append(out, "...")
			break
		}
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}
