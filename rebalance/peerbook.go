package rebalance

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/certs"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

const (
	// pollEvery is how often peers are asked for their totals.
	pollEvery = time.Second
	// askTimeout bounds one question to one peer.
	askTimeout = time.Second
	// askAtMost bounds a question that takes many requests.
	askAtMost = 15 * time.Second
	// reportFresh is how long a report tells whether a pod serves: five polls.
	reportFresh = 5 * pollEvery
	// pollAll is up to how many peers all are asked with each poll. Of more, pollHandful
	// are, by chance: a pod's traffic must not grow with the fleet.
	pollAll     = 32
	pollHandful = 8
	// askers is how many peers are asked at a time.
	askers = 8
)

// peerBook is what is known of the other pods.
type peerBook struct {
	client peerz.Client
	poller peerz.Poller // asks with client
	hasher peerz.Hasher
	certs  *certs.Store // nil: plain HTTP
	index  keyIndex

	mu       sync.Mutex
	members  []peers.Member
	listed   []listed  // members, sorted by id
	unproven bool      // some of them are
	starting int       // as many more will be members soon
	queue    []string  // of more than pollAll peers, those whose turn has not come yet
	at       time.Time // of the last good view
	err      error     // of the last, if it was not good
	reports  map[string]peerReport
	polled   bool     // all have been asked once
	anew     []string // pods that restarted at their address, for the next view
	errors   map[string]uint64
	told     []plan.Peer // a buffer
	answers  *plan.Counts
	asking   uint64
}

func (p *peerBook) close() {
	p.client.Close()
	p.poller.Close()
}

// dialWith has the pods reached as the source does it, for polls and questions alike.
func (p *peerBook) dialWith(d peers.Dialer) {
	p.client.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, err
		}
		return d.DialPeer(ctx, at)
	}
}

// peerReport is a pod's last answer, and why the latest question had none.
type peerReport struct {
	report peerz.Report
	at     time.Time
	err    error
	tries  int // addresses given up so far; the next one is asked
	fails  int // questions without an answer since the last good one
}

// listed is a member with what follows from its addresses.
type listed struct {
	peers.Member

	id    string       // its lowest address
	addrs []netip.Addr // lowest first
}

// listMembers sorts members by their ids.
func listMembers(members []peers.Member) []listed {
	out := make([]listed, len(members))
	for i, m := range members {
		addrs := slices.SortedFunc(slices.Values(m.Addrs), netip.Addr.Compare)
		out[i] = listed{Member: m, id: addrs[0].String(), addrs: addrs}
	}
	slices.SortFunc(out, byID)
	return out
}

func byID(a, b listed) int { return strings.Compare(a.id, b.id) }

// runSource watches who serves; a source that gives up leaves a view that becomes stale.
func (b *Balancer) runSource(ctx context.Context) {
	err := b.opts.source.Run(ctx, b.onMembership)
	if err != nil && ctx.Err() == nil {
		b.onMembership(peers.Membership{Err: err})
		b.SetCondition("source-ended", Error, "no peers can be watched any more, restart the pod when mended: "+err.Error())
	}
}

func (b *Balancer) onMembership(m peers.Membership) {
	if m.Err == nil {
		b.clientDNS.learn(m.ClientName) // before the members: none must be moved unasked
	}
	p := &b.peers
	p.mu.Lock()
	changed := p.starting != m.Starting || !slices.EqualFunc(p.members, m.Members, sameMember)
	if p.err = m.Err; m.Err == nil {
		p.starting, p.at = m.Starting, time.Now()
	}
	if changed && m.Err == nil {
		p.members = copyMembers(m.Members)
		p.listed = listMembers(p.members)
		p.unproven = slices.ContainsFunc(p.members, func(m peers.Member) bool { return m.Unproven })
	}
	p.mu.Unlock()
	if m.Err == nil {
		b.conds.set("peers-limited", Warning, 0, m.Warning)
	}
	if changed || m.Err != nil {
		b.poke()
	}
}

func (p *peerBook) toCome() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starting
}

// copyMembers leaves the source what is its own.
func copyMembers(members []peers.Member) []peers.Member {
	out := slices.Clone(members)
	for i := range out {
		out[i].Addrs = slices.Clone(out[i].Addrs)
	}
	return out
}

func sameMember(a, b peers.Member) bool {
	return a.Pod == b.Pod && a.Terminating == b.Terminating && a.Unproven == b.Unproven && a.Port == b.Port &&
		slices.Equal(a.Addrs, b.Addrs)
}

func (p *peerBook) membership() ([]peers.Member, time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.members, func(m peers.Member) bool { return m.Unproven }) && !p.polled {
		return nil, time.Time{}, nil
	}
	return p.members, p.at, p.err
}

// fresh returns a pod's report if it still tells of now.
func (p *peerBook) fresh(id string) (peerz.Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.reports[id]
	window := p.freshLocked()
	if !r.report.Ready {
		window = reportKept // who stops does not come back, though it may be listed for a while
	}
	return r.report, ok && !r.at.IsZero() && time.Since(r.at) < window
}

// freshLocked is how long a report tells whether a pod serves. Of many pods that must
// prove that they do, each is asked but now and then: the time from one turn to the
// next but one, at most twice the walk over all, and then as of few.
func (p *peerBook) freshLocked() time.Duration {
	n := len(p.listed)
	if n <= pollAll || !p.unproven {
		return reportFresh
	}
	polls := (n + pollHandful - 1) / pollHandful
	return time.Duration(2*polls)*pollEvery + reportFresh
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
	targets, through := p.turnLocked(b.targetsLocked())
	p.mu.Unlock()
	addrs := make([]netip.AddrPort, len(targets))
	for i, t := range targets {
		addrs[i] = t.at
	}
	for i, a := range p.poller.Poll(ctx, addrs) {
		err := a.Err
		if err == nil {
			err = a.Report.CheckPod(targets[i].pod)
		}
		p.count(ctx, err)
		p.book(targets[i].id, a.Report, err)
		p.tryNext(ctx, &targets[i], err)
	}
	p.mu.Lock()
	first := known && through && !p.polled
	p.polled = p.polled || known && through
	p.mu.Unlock()
	if first {
		b.poke()
	}
	p.index.drop()
}

// turnLocked returns whom to ask now, and whether with them all have been asked. Of
// many it is a handful by chance, nobody twice before everybody once: so the reports at
// hand are of as many pods as can be.
func (p *peerBook) turnLocked(all []target) (now []target, through bool) {
	if len(all) <= pollAll {
		p.queue = nil
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all, true
	}
	if len(p.queue) == 0 {
		for i := range all {
			p.queue = append(p.queue, all[i].id)
		}
		rand.Shuffle(len(p.queue), func(i, j int) { p.queue[i], p.queue[j] = p.queue[j], p.queue[i] })
	}
	for len(p.queue) > 0 && len(now) < pollHandful {
		id := p.queue[len(p.queue)-1]
		p.queue = p.queue[:len(p.queue)-1]
		if i, ok := slices.BinarySearchFunc(all, id, func(t target, id string) int { return strings.Compare(t.id, id) }); ok {
			now = append(now, all[i])
		}
	}
	return now, len(p.queue) == 0
}

// target is where a pod is asked, and who should answer, if that is known.
type target struct {
	id, pod string
	at      netip.AddrPort
}

// targetsLocked returns where the other pods answer, sorted by id, and forgets those
// that went.
func (b *Balancer) targetsLocked() []target {
	p := &b.peers
	var out []target
	keep := map[string]peerReport{}
	for i := range p.listed {
		m := &p.listed[i]
		r, ok := p.reports[m.id]
		if ok {
			keep[m.id] = r
		}
		if port := b.peerPort(m.Port); port != 0 && !b.isSelf(&m.Member) {
			at := netip.AddrPortFrom(m.addrs[r.tries%len(m.addrs)], uint16(port))
			out = append(out, target{id: m.id, pod: m.Pod, at: at})
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
func (b *Balancer) setHealthPort(port int) {
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
	p.errors[peerz.ClassOf(err)]++
}

func (p *peerBook) book(id string, r peerz.Report, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.reports[id]
	if err != nil {
		old.err = err
		old.fails++
		p.reports[id] = old
		return
	}
	if !old.at.IsZero() && old.restartedAs(&r) {
		p.anew = append(p.anew, id)
	}
	p.reports[id] = peerReport{report: r, at: time.Now(), tries: old.tries}
}

// restartedAs tells whether r is of a pod that began after old came. By another name, the
// pod that has the address now must be younger than the report: an address behind
// which several pods answer by turns is a mistake, and not a restart at each.
func (old *peerReport) restartedAs(r *peerz.Report) bool {
	if r.Pod == old.report.Pod {
		return r.UptimeMillis < old.report.UptimeMillis || r.Generation < old.report.Generation
	}
	return r.Uptime() < time.Since(old.at)+reportFresh
}

// tryNext lets a pod that failed to answer be asked at its next address from now on.
func (p *peerBook) tryNext(ctx context.Context, t *target, err error) {
	if err == nil || errors.Is(err, peerz.ErrNoTurn) || ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := slices.BinarySearchFunc(p.listed, listed{id: t.id}, byID)
	if !ok {
		return
	}
	// Polls and questions for keys may fail at one address both: that is one failure.
	addrs, r := p.listed[i].addrs, p.reports[t.id]
	if addrs[r.tries%len(addrs)] == t.at.Addr() {
		r.tries++
		p.reports[t.id] = r
	}
}

// ask puts one round of questions, once, and wakes the loop with the answers of those
// that gave one.
func (p *peerBook) ask(ctx context.Context, wg *sync.WaitGroup, b *Balancer, q *plan.Query) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking == q.ID {
		return
	}
	p.asking = q.ID
	p.answers = nil
	where := map[string]target{}
	for _, t := range b.targetsLocked() {
		where[t.id] = t
	}
	wg.Go(func() {
		counts := p.askAll(ctx, q, where)
		p.mu.Lock()
		if p.asking == q.ID {
			p.answers = counts
		}
		p.mu.Unlock()
		b.poke()
	})
}

func (p *peerBook) askAll(ctx context.Context, q *plan.Query, where map[string]target) *plan.Counts {
	var mu sync.Mutex
	all := &plan.Counts{Query: q.ID, ByPod: map[string]map[string]int{}, SingleHomed: map[string]bool{}}
	var pods []string
	for pod := range q.Keys {
		if _, ok := where[pod]; ok {
			pods = append(pods, pod)
		}
	}
	inParallel(pods, func(pod string) {
		counts, sticky, err := p.askKeys(ctx, where[pod], q.Keys[pod])
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all.ByPod[pod] = counts
		for _, key := range sticky {
			all.SingleHomed[key] = true
		}
	})
	return all
}

// askKeys asks one pod. Many keys take several requests, one after the other: each has its
// time.
func (p *peerBook) askKeys(ctx context.Context, t target, keys []string) (counts map[string]int, sticky []string, err error) {
	hashed := make([]string, len(keys))
	for i, key := range keys {
		hashed[i] = p.hasher.Hash(key)
	}
	parts := (len(keys) + peerz.MaxKeys - 1) / peerz.MaxKeys
	timed, cancel := context.WithTimeout(ctx, min(time.Duration(parts)*askTimeout, askAtMost))
	defer cancel()
	r, err := p.client.Ask(timed, t.at.String(), hashed)
	if err == nil {
		err = r.CheckPod(t.pod)
	}
	p.count(ctx, err)
	p.tryNext(ctx, &t, err)
	if err != nil {
		return nil, nil, err
	}
	counts = make(map[string]int, len(keys))
	isSticky := make(map[string]bool, len(r.SingleHomed))
	for _, key := range r.SingleHomed {
		isSticky[key] = true
	}
	for i, key := range keys {
		counts[key] = r.Keys[hashed[i]]
		if isSticky[hashed[i]] {
			sticky = append(sticky, key)
		}
	}
	return counts, sticky, nil
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
