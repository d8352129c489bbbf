package rebalance

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

const (
	// pollEvery is how often peers are asked for their totals.
	pollEvery = time.Second
	// askTimeout bounds one question to one peer.
	askTimeout = time.Second
	// reportFresh is how long a report tells whether a pod serves: five polls.
	reportFresh = 5 * pollEvery
	// pollAll is up to how many peers all are asked; of more, so many by chance: a pod's
	// traffic must not grow with the fleet.
	pollAll = 32
	// askers is how many peers are asked at a time.
	askers = 8
)

// peerBook is what is known of the other pods.
type peerBook struct {
	client peerz.Client // for keys
	poller peerz.Poller // for totals

	mu      sync.Mutex
	members []Member
	at      time.Time // of the last good view
	err     error     // of the last, if it was not good
	reports map[string]peerReport
	polled  bool     // one round of polls is through
	anew    []string // pods that restarted at their address, for the next view
	errors  map[string]uint64
	answers *plan.Counts
	asking  uint64
}

func (p *peerBook) close() {
	p.client.Close()
	p.poller.Close()
}

// peerReport is a pod's last answer, and why the latest question had none.
type peerReport struct {
	report peerz.Report
	at     time.Time
	err    error
}

// runSource watches who serves; a source that gives up leaves a view that becomes stale.
func (b *Balancer) runSource(ctx context.Context) {
	err := b.opts.source.Run(ctx, b.onMembership)
	if err != nil && ctx.Err() == nil {
		b.onMembership(Membership{Err: err})
		b.SetCondition("source-ended", Error, "no peers can be watched any more, restart the pod when mended: "+err.Error())
	}
}

func (b *Balancer) onMembership(m Membership) {
	p := &b.peers
	p.mu.Lock()
	changed := !slices.EqualFunc(p.members, m.Members, sameMember)
	if p.err = m.Err; m.Err == nil {
		p.members, p.at = m.Members, time.Now()
	}
	p.mu.Unlock()
	if changed || m.Err != nil {
		b.poke()
	}
}

func sameMember(a, b Member) bool {
	return a.Pod == b.Pod && a.Terminating == b.Terminating && slices.Equal(a.Addrs, b.Addrs)
}

func (p *peerBook) membership() ([]Member, time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.members, func(m Member) bool { return m.Unproven }) && !p.polled {
		return nil, time.Time{}, nil
	}
	return p.members, p.at, p.err
}

// fresh returns a pod's report if it still tells of now.
func (p *peerBook) fresh(id string) (peerz.Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.reports[id]
	return r.report, ok && !r.at.IsZero() && time.Since(r.at) < reportFresh
}

// restarted returns, once, the pods that restarted since the last call.
func (p *peerBook) restarted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.anew
	p.anew = nil
	return out
}

// uptimes is how long each pod has served, as far as it has told.
func (p *peerBook) uptimes(self string, own time.Duration) map[string]time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]time.Duration{self: own}
	for id, r := range p.reports {
		if !r.at.IsZero() && id != self {
			out[id] = r.report.Uptime() + time.Since(r.at)
		}
	}
	return out
}

func (p *peerBook) counts() *plan.Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers
}

// runPolls asks the peers for their totals.
func (b *Balancer) runPolls(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		b.poll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Balancer) poll(ctx context.Context) {
	p := &b.peers
	p.mu.Lock()
	known := !p.at.IsZero()
	targets := b.targetsLocked()
	p.mu.Unlock()
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	targets = targets[:min(len(targets), pollAll)]
	addrs := make([]netip.AddrPort, len(targets))
	for i, t := range targets {
		addrs[i] = t.at
	}
	for i, a := range p.poller.Poll(ctx, addrs) {
		p.count(ctx, a.Err)
		p.book(targets[i].id, a.Report, a.Err)
	}
	p.mu.Lock()
	first := known && !p.polled
	p.polled = p.polled || known
	p.mu.Unlock()
	if first {
		b.poke()
	}
}

type target struct {
	id string
	at netip.AddrPort
}

// targetsLocked returns where the other pods answer, and forgets those that went.
func (b *Balancer) targetsLocked() []target {
	p := &b.peers
	var out []target
	keep := map[string]peerReport{}
	for _, m := range p.members {
		id := slices.MinFunc(m.Addrs, netip.Addr.Compare)
		if r, ok := p.reports[id.String()]; ok {
			keep[id.String()] = r
		}
		port := b.peerPort(m.Port)
		if !b.isSelf(&m) && port != 0 {
			out = append(out, target{id.String(), netip.AddrPortFrom(id, uint16(port))})
		}
	}
	p.reports = keep
	return out
}

func (b *Balancer) peerPort(own int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if own != 0 {
		return own
	}
	if b.cfg.Peers.Port != 0 {
		return b.cfg.Peers.Port
	}
	return b.healthPort
}

// SetHealthPort tells the port of the health endpoint, on which the peers answer,
// too, unless peers.port says otherwise. health.ListenAndServe calls it.
func (b *Balancer) SetHealthPort(port int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.healthPort = port
}

// count books a question without a good answer, for evenkeel_peer_errors_total.
func (p *peerBook) count(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.errors == nil {
		p.errors = make(map[string]uint64)
	}
	p.errors[peerz.Why(err)]++
}

func (p *peerBook) book(id string, r peerz.Report, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.reports[id]
	if err != nil {
		old.err = err
		p.reports[id] = old
		return
	}
	if !old.at.IsZero() && r.UptimeMillis < old.report.UptimeMillis {
		p.anew = append(p.anew, id)
	}
	p.reports[id] = peerReport{report: r, at: time.Now()}
}

// ask puts one round of questions, once, and wakes the loop with the answers of those
// that gave one.
func (p *peerBook) ask(ctx context.Context, wg *sync.WaitGroup, b *Balancer, q *plan.Ask) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking == q.ID {
		return
	}
	p.asking = q.ID
	p.answers = nil
	where := map[string]netip.AddrPort{}
	for _, t := range b.targetsLocked() {
		where[t.id] = t.at
	}
	wg.Go(func() {
		counts := &plan.Counts{Ask: q.ID, ByPod: p.askAll(ctx, q, where)}
		p.mu.Lock()
		if p.asking == q.ID {
			p.answers = counts
		}
		p.mu.Unlock()
		b.poke()
	})
}

func (p *peerBook) askAll(ctx context.Context, q *plan.Ask, where map[string]netip.AddrPort) map[string]map[string]int {
	var mu sync.Mutex
	all := map[string]map[string]int{}
	var pods []string
	for pod := range q.Keys {
		if _, ok := where[pod]; ok {
			pods = append(pods, pod)
		}
	}
	inParallel(pods, func(pod string) {
		counts, err := p.askKeys(ctx, where[pod], q.Keys[pod])
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all[pod] = counts
	})
	return all
}

func (p *peerBook) askKeys(ctx context.Context, at netip.AddrPort, keys []string) (map[string]int, error) {
	hashed := make([]string, len(keys))
	for i, key := range keys {
		hashed[i] = peerz.HashKey(key)
	}
	timed, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := p.client.Ask(timed, at.String(), hashed)
	p.count(ctx, err)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int, len(keys))
	for i, key := range keys {
		counts[key] = r.Keys[hashed[i]]
	}
	return counts, nil
}

// inParallel runs f for each, a few at a time, and returns when all are done.
func inParallel[T any](all []T, f func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, askers)
	for _, one := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(one)
		})
	}
	wg.Wait()
}

// portText is for people.
func portText(a netip.Addr, port int) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, uint16(port)).String()
}
