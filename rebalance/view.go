package rebalance

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

// staleAfter is how old the source's last good view may be. Sources renew theirs
// every few seconds.
const staleAfter = 30 * time.Second

// view gathers what planning looks at.
func (b *Balancer) view() (*plan.View, *plan.Policy) {
	cfg := b.Config()
	v := &plan.View{Now: b.reg.Now(), NoPeers: b.noPeers(&cfg), Counts: b.peers.counts()}
	members, stale := b.members()
	v.Stale = stale
	for _, m := range members {
		v.Members = append(v.Members, m.id)
		if m.self {
			v.Self = m.id
		}
	}
	slices.Sort(v.Members)
	if stale == "" {
		b.serve()
		v.Restarted, v.Starting = b.peers.restarted(), b.peers.toCome()
		v.Uptime = b.peers.uptimes(v.Self, b.serving())
	}
	b.ownLoad(v, &cfg)
	busy := v.NoPeers == "" && stale == "" && cfg.Rebalance.Enabled && b.state.Growing(v.Members)
	b.lookAtDNS(v, members, busy)
	policy := policyOf(&cfg, b.weight(&cfg))
	if busy || cfg.Policy.MaxConnectionAge > 0 || b.state.Due(v, policy) {
		v.Conns = b.ownConns()
	}
	return v, policy
}

// serve notes that this pod is a member.
func (b *Balancer) serve() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served.IsZero() {
		b.served = time.Now()
	}
}

// serving is how long this pod has served: since it was first a member, which is when clients
// could come. A pod that takes long to become ready is young all the same.
func (b *Balancer) serving() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served.IsZero() {
		return 0
	}
	return time.Since(b.served)
}

// weight is the measure of load in force.
func (b *Balancer) weight(cfg *config.Config) string {
	if b.opts.weigh != nil {
		return config.WeightCustom
	}
	return cfg.Rebalance.Weight
}

// sampleEvery is how often the connections' loads are looked at.
const sampleEvery = time.Second

// sample looks at the connections' loads, and whether they are too much.
func (b *Balancer) sample() {
	now := b.reg.Now()
	cfg := b.Config()
	weight := b.weight(&cfg)
	// By another weight the last sums are no load: peers' would be held against them.
	if b.sampled != 0 && now-b.sampled < sampleEvery && weight == b.sampledBy {
		return
	}
	b.sampled, b.sampledBy = now, weight
	b.reg.Sample(b.weigher(&cfg))
	why := b.overloaded(&cfg)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overload = why
}

// weigher is nil for connections, each of which counts as 1.
func (b *Balancer) weigher(cfg *config.Config) func(*conns.Info) float64 {
	switch b.weight(cfg) {
	case config.WeightRequests:
		return func(i *conns.Info) float64 { return i.RequestRate }
	case config.WeightStreams:
		return func(i *conns.Info) float64 { return i.MeanStreams }
	case config.WeightCustom:
		now := b.reg.Now()
		return func(i *conns.Info) float64 {
			return b.opts.weigh(ConnStats{
				Key: i.Key, Age: now - i.Opened, Streams: i.Streams, StreamsOpened: i.StreamsOpened,
				RequestRate: i.RequestRate, MeanStreams: i.MeanStreams,
			})
		}
	}
	return nil
}

// overloaded says by which signal this pod is, empty for none. It ends a tenth below
// where it began, so that it does not come and go.
func (b *Balancer) overloaded(cfg *config.Config) string {
	if b.opts.shed != nil {
		if why := b.opts.shed(); why != "" {
			return why
		}
	}
	limit := cfg.Rebalance.MaxStreams
	if limit == 0 {
		return ""
	}
	open := b.reg.Brief().Streams
	if open > limit || b.overload != "" && open > limit-limit/10 {
		return fmt.Sprintf("more than %d streams in flight (rebalance.maxStreams)", limit)
	}
	return ""
}

// ownLoad fills in what this pod and the others carry.
func (b *Balancer) ownLoad(v *plan.View, cfg *config.Config) {
	weight := b.weight(cfg)
	sums, returns := b.reg.Loads(), b.reg.Returns()
	v.Serving, v.Overloaded = sums.Connections, b.overload
	v.Returns = plan.Returns{Drained: returns.Drained, Returned: returns.Returned, Away: returns.Away}
	if v.Load = sums.Weight; weight == config.WeightConnections {
		v.Load = float64(sums.Connections)
	}
	if v.Stale == "" {
		v.Peers = b.peers.peers(weight, v.Self)
	}
}

func (b *Balancer) noPeers(cfg *config.Config) string {
	if b.opts.source == nil {
		return fmt.Sprintf("nothing to balance with: peers.source is %q and no rebalance.WithPeers was given", cfg.Peers.Source)
	}
	return ""
}

func policyOf(cfg *config.Config, weight string) *plan.Policy {
	r := &cfg.Rebalance
	return &plan.Policy{
		Enabled: r.Enabled, Settle: r.Settle, Spread: r.Spread, Cooldown: r.Cooldown,
		MaxPerSecond: r.MaxPerSecond, MaxFractionPerMinute: r.MaxFractionPerMinute,
		CheckAfter: plan.DefaultCheckAfter, MaxRounds: plan.DefaultMaxRounds,
		MaxAge:    cfg.Policy.MaxConnectionAge,
		Tolerance: r.Tolerance, Floor: r.Floor, Whole: weight == config.WeightConnections,
	}
}

// ownConns fills the loop's own buffer, used again at each tick.
func (b *Balancer) ownConns() []plan.Conn {
	b.conns = b.conns[:0]
	b.reg.Each(func(i *conns.Info) {
		b.conns = append(b.conns, plan.Conn{
			ID: i.ID, Key: i.Key, Opened: i.Opened, Returned: i.Returned, Draining: i.Draining,
			Weight: i.Weight, Streams: i.Streams, FutileDrains: i.FutileDrains, Named: i.Named,
		})
	})
	return b.conns
}

// lookAtDNS asks the gate for these very members before it reads it, so that an answer
// for others never counts.
func (b *Balancer) lookAtDNS(v *plan.View, members []member, busy bool) {
	gate := b.clientDNS.gate.Load()
	if gate == nil {
		return
	}
	if !busy {
		gate.Want(nil)
		// Closed, not absent: what planning finds in this very step must wait, too.
		v.Gate = plan.Gate{Needed: true, Why: gate.Name() + " has not been asked yet"}
		return
	}
	var groups [][]netip.Addr
	for _, m := range members {
		groups = append(groups, m.addrs)
	}
	gate.Want(groups)
	s := gate.Status()
	v.Gate = plan.Gate{Needed: true, Open: s.Open, Why: gateText(gate)}
	if s.Open {
		v.Gate.OpenSince = b.reg.At(s.OpenSince)
	}
}

// gateText says what DNS still lacks.
func gateText(gate *lookup.Gate) string {
	s := gate.Status()
	switch {
	case s.Err != nil:
		return fmt.Sprintf("which cannot be asked: %v", s.Err)
	case len(s.Missing) > 0:
		return fmt.Sprintf("%s does not answer with %d of %d pods yet (%s)",
			gate.Name(), len(s.Missing), s.Wanted, someAddrs(s.Missing))
	}
	return gate.Name() + " must answer in full a few times in a row"
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

// member is a pod that serves.
type member struct {
	id    string // its first address: the same on every pod that looks
	addrs []netip.Addr
	self  bool
}

// members returns the pods that serve, this one among them, or why the view cannot be
// acted upon.
func (b *Balancer) members() (out []member, stale string) {
	m, at, err := b.peers.membership()
	switch {
	case at.IsZero() && err != nil:
		return nil, fmt.Sprintf("%v: %v", b.opts.source, err)
	case at.IsZero():
		return nil, fmt.Sprintf("%v has not answered yet", b.opts.source)
	case time.Since(at) > staleAfter && err != nil:
		return nil, fmt.Sprintf("%v: no good view for more than %v: %v", b.opts.source, staleAfter, err)
	case time.Since(at) > staleAfter:
		return nil, fmt.Sprintf("%v: no view for more than %v", b.opts.source, staleAfter)
	}
	found := false
	for _, one := range m {
		mem, ok := b.toMember(one)
		found = found || mem.self
		if ok {
			out = append(out, mem)
		}
	}
	if !found {
		return nil, fmt.Sprintf("%v does not list this pod (%s): it is not ready yet, or its own address ($POD_IP) is wrong",
			b.opts.source, cmp.Or(b.opts.addr, "address unknown"))
	}
	return out, ""
}

// toMember tells whether one serves: what the source cannot know, its own report must.
func (b *Balancer) toMember(one peers.Member) (member, bool) {
	addrs := slices.Clone(one.Addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	mem := member{id: addrs[0].String(), addrs: addrs, self: b.isSelf(&one)}
	if mem.self {
		return mem, true
	}
	if one.Terminating {
		return mem, false
	}
	r, fresh := b.peers.fresh(mem.id)
	if fresh {
		return mem, r.Ready
	}
	return mem, !one.Unproven
}

// isSelf goes by this pod's address, and by its name where the source knows none of the same
// family: the Service of a dual-stack pod may have the other one only.
func (b *Balancer) isSelf(m *peers.Member) bool {
	same := func(a netip.Addr) bool { return a.Is4() == b.self.Is4() }
	if b.self.IsValid() && slices.ContainsFunc(m.Addrs, same) {
		return slices.Contains(m.Addrs, b.self)
	}
	return m.Pod != "" && m.Pod == b.opts.pod
}
