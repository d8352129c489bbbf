package world

import (
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

const (
	// lookAgain is the longest pause of a pod's loop, pollEvery that of its polls.
	lookAgain = time.Second
	pollEvery = time.Second
	// reportFresh is how long a report tells whether a pod serves.
	reportFresh = 5 * time.Second
	// reportKept is how long one is shown to planning at all.
	reportKept = time.Minute
	// askTimeout is how long a question to a pod that does not answer takes.
	askTimeout = time.Second
	// manyPods is from how many members on a pod's map of uptimes is made only while a
	// growth is under way, and renewed each 5 s: it would cost more than planning.
	manyPods = 100
)

// report is what a pod has told last.
type report struct {
	at         time.Duration // 0: nothing yet
	load       float64
	ready      bool
	reaching   bool
	overloaded bool
}

// pod runs the planning as rebalance.Balancer does.
type pod struct {
	idx      int32
	id       string
	begun    time.Duration
	ready    bool // passes its readiness probe
	stopping bool
	dead     bool

	infos   []plan.Conn
	sum     float64       // of the weights, as of the last sample
	sampled time.Duration // when that was
	serving int
	keys    map[int32]*keyState // of clients that were asked to leave
	askings []asking
	returns plan.Returns

	state    plan.State
	verdict  plan.Verdict
	why      string
	tickNo   int32
	tickAt   time.Duration
	lastTick time.Duration
	resting  bool

	version int32 // of the membership; -1: none yet
	reports []report
	unready int // reports of pods that are not ready
	polls   []polledReport
	queue   []int32  // of many peers, those that were not polled in this turn
	members []string // buffer, if some of version's are not ready

	uptime    map[string]time.Duration
	uptimeAt  time.Duration
	uptimeFor int32

	gate gate

	asked  *plan.Query
	counts *plan.Counts
	bytes  float64
}

type polledReport struct {
	pod int32
	r   report
}

func (p *pod) alive() bool { return !p.stopping && !p.dead }

// gate is the look at DNS: open after three full answers in a row.
type gate struct {
	set    int32 // rises with each change of wanted
	wanted []string
	full   int
	open   bool
	since  time.Duration
	began  time.Duration
}

const (
	gateEvery     = 250 * time.Millisecond
	gateSlow      = time.Second
	gateSlowAfter = 30 * time.Second
	gateOpenEvery = 2 * time.Second
	gateFull      = 3
	dnsTrip       = 2 * time.Millisecond
)

func (w *World) newPod(begun time.Duration) *pod {
	i := len(w.pods)
	p := &pod{idx: int32(i), id: w.podID(i), begun: begun, version: -1, keys: map[int32]*keyState{}, uptime: map[string]time.Duration{}}
	w.pods = append(w.pods, p)
	return p
}

// startLoops lets the pod see the membership, poll and plan, with phases of its own.
func (w *World) startLoops(p *pod, at time.Duration) {
	w.push(evPoll, at+w.upTo(pollEvery), p.idx, 0)
	if w.cfg.Net.ViewEvery > 0 {
		w.push(evLook, at+w.upTo(w.cfg.Net.ViewEvery), p.idx, 0)
	} else {
		delay := w.between(w.cfg.Net.ViewDelay[0], w.cfg.Net.ViewDelay[1])
		w.push(evView, at+delay, p.idx, int32(len(w.versions)-1))
	}
	w.planAt(p, at+w.upTo(lookAgain))
}

// planAt lets p plan at t instead of what was meant before.
func (w *World) planAt(p *pod, t time.Duration) {
	p.tickNo++
	p.tickAt = t
	w.push(evTick, t, p.idx, p.tickNo)
}

// poke lets p plan now.
func (w *World) poke(p *pod) {
	if at := max(w.now, p.lastTick+w.cfg.MinWake); p.alive() && at < p.tickAt {
		w.planAt(p, at)
	}
}

func (w *World) tickEvent(p *pod, no int32) {
	if no == p.tickNo && p.alive() {
		w.tick(p)
	}
}

// tick is rebalance's: look, decide, act, and say when to look again.
func (w *World) tick(p *pod) {
	if w.rests() && p.resting {
		w.pollNow(p)
	}
	w.sampleLoads(p)
	v := w.viewOf(p)
	var step plan.Step
	begin := w.m.clock()
	p.state, step = w.cfg.Next(p.state, v, &w.cfg.Policy)
	w.m.planTook(w.m.clock() - begin)
	p.verdict, p.why = step.Verdict, step.Why
	for i := range step.Drains {
		w.move(p, &step.Drains[i])
	}
	if step.Query != nil {
		w.ask(p, step.Query)
	}
	w.sweep(p)
	p.lastTick = w.now
	p.resting = len(v.Conns) == 0 && len(step.Drains) == 0
	w.planAt(p, w.now+w.pause(p, step.Wake))
}

func (w *World) pause(p *pod, wake time.Duration) time.Duration {
	most := lookAgain
	if w.rests() && p.resting {
		most = w.cfg.RestTick
	}
	if wake > 0 {
		most = min(most, wake)
	}
	return max(most, w.cfg.MinWake)
}

// rests: it is that late that pods where nothing goes on may look less often.
func (w *World) rests() bool { return w.cfg.RestTick > 0 && w.now >= Begin+w.cfg.RestFrom }

// viewOf is what the pod sees. It is used again at the next tick of any pod.
func (w *World) viewOf(p *pod) *plan.View {
	v := &w.view
	*v = plan.View{Now: w.now, Counts: p.counts, Load: w.load(p), Serving: p.serving, Returns: p.returns}
	v.Members, v.Stale = w.membersOf(p)
	for _, m := range v.Members {
		if m == p.id {
			v.Self = m
		}
	}
	if v.Stale != "" {
		return v
	}
	busy := p.state.Growing(v.Members)
	if busy || len(v.Members) < manyPods {
		v.Uptime = w.uptimes(p)
	}
	v.Peers = w.peersOf(p, v.Members)
	w.lookAtDNS(p, v, busy)
	if busy || p.state.Due(v, &w.cfg.Policy) {
		v.Conns = p.infos // not copied: planning changes nothing in a View (a test looks)
	}
	return v
}

// membersOf returns the pods that serve as far as p knows, or why it does not know.
func (w *World) membersOf(p *pod) (members []string, stale string) {
	if p.version < 0 {
		return nil, "the membership has not been seen yet"
	}
	v := w.versions[p.version]
	if !v.has(p.idx) {
		return nil, "the membership does not list this pod"
	}
	if p.unready == 0 {
		return v.ids, ""
	}
	p.members = p.members[:0]
	for i, other := range v.pods {
		if !w.toldUnready(p, other) {
			p.members = append(p.members, v.ids[i])
		}
	}
	return p.members, ""
}

func (w *World) toldUnready(p *pod, other int32) bool {
	if int(other) >= len(p.reports) || other == p.idx {
		return false
	}
	r := &p.reports[other]
	return r.at > 0 && !r.ready && w.now-r.at < reportFresh
}

// uptimes is how long each pod has served, as far as it has told.
func (w *World) uptimes(p *pod) map[string]time.Duration {
	v := w.versions[p.version]
	if len(v.pods) > manyPods && p.uptimeFor == p.version && w.now-p.uptimeAt < 5*time.Second {
		return p.uptime
	}
	clear(p.uptime)
	p.uptimeAt, p.uptimeFor = w.now, p.version
	p.uptime[p.id] = w.now - p.begun
	for i, other := range v.pods {
		if int(other) < len(p.reports) && p.reports[other].at > 0 {
			p.uptime[v.ids[i]] = w.now - w.pods[other].begun
		}
	}
	return p.uptime
}

// peersOf is what the others told, in the order of members.
func (w *World) peersOf(p *pod, members []string) []plan.Peer {
	w.peers = w.peers[:0]
	v := w.versions[p.version]
	at := 0
	for i, other := range v.pods {
		if at == len(members) || members[at] != v.ids[i] {
			continue
		}
		at++
		if other == p.idx || int(other) >= len(p.reports) {
			continue
		}
		r := &p.reports[other]
		if age := w.now - r.at; r.at > 0 && age <= reportKept && r.ready {
			w.peers = append(w.peers, plan.Peer{Pod: v.ids[i], Age: age, Load: r.load, Reaching: r.reaching, Overloaded: r.overloaded})
		}
	}
	return w.peers
}

func (w *World) viewArrives(p *pod, version int32) {
	if version > p.version && !p.dead {
		p.version = version
		w.poke(p)
	}
}

func (w *World) lookAtMembers(p *pod) {
	if p.dead {
		return
	}
	w.viewArrives(p, int32(len(w.versions)-1))
	w.push(evLook, w.now+w.cfg.Net.ViewEvery, p.idx, 0)
}

// lookAtDNS asks the gate for these very members before it reads it.
func (w *World) lookAtDNS(p *pod, v *plan.View, busy bool) {
	g := &p.gate
	if !busy {
		g.wanted = nil
		v.Gate = plan.Gate{Needed: true, Why: "DNS has not been asked yet"}
		return
	}
	if !slices.Equal(g.wanted, v.Members) {
		*g = gate{set: g.set + 1, wanted: w.kept(p, v.Members), began: w.now}
		w.push(evGate, w.now+dnsTrip, p.idx, g.set)
	}
	v.Gate = plan.Gate{Needed: true, Open: g.open, OpenSince: g.since, Why: "DNS lacks pods"}
}

// kept is members for longer than this tick.
func (w *World) kept(p *pod, members []string) []string {
	if p.unready == 0 {
		return members // the version's own
	}
	return slices.Clone(members)
}

func (w *World) gateLooks(p *pod, set int32) {
	g := &p.gate
	if set != g.set || g.wanted == nil || p.dead {
		return
	}
	was := g.open
	if containsAll(w.authoritative().ids, g.wanted) {
		g.full++
	} else {
		g.full = 0
	}
	g.open = g.full >= gateFull
	if g.open != was {
		g.since = w.now
		w.poke(p)
	}
	next := gateEvery
	switch {
	case g.open:
		next = gateOpenEvery
	case w.now-g.began > gateSlowAfter:
		next = gateSlow
	}
	w.push(evGate, w.now+next, p.idx, set)
}

// containsAll: all of some are among all; both are sorted.
func containsAll(all, some []string) bool {
	i := 0
	for _, s := range some {
		for i < len(all) && all[i] < s {
			i++
		}
		if i == len(all) || all[i] != s {
			return false
		}
	}
	return true
}

// poll asks some of the peers for their totals.
func (w *World) poll(p *pod) {
	if p.dead {
		return
	}
	every := pollEvery
	if w.rests() && p.resting {
		every = w.cfg.RestTick
	}
	w.push(evPoll, w.now+every, p.idx, 0)
	w.askTotals(p)
	if len(p.polls) > 0 {
		w.push(evPolled, w.now+w.cfg.Net.ReportDelay, p.idx, 0)
	}
}

// pollNow polls without delay, for a pod that rests.
func (w *World) pollNow(p *pod) {
	w.askTotals(p)
	w.polled(p)
}

func (w *World) askTotals(p *pod) {
	p.polls = p.polls[:0]
	if p.version < 0 {
		return
	}
	for len(p.reports) < len(w.pods) {
		p.reports = append(p.reports, report{})
	}
	pods := w.versions[p.version].pods
	if len(pods) <= plan.PollAll+1 {
		p.queue = nil
		for _, other := range pods {
			w.askTotal(p, other)
		}
		return
	}
	if len(p.queue) == 0 {
		p.queue = append(p.queue, pods...)
		w.rng.Shuffle(len(p.queue), func(i, j int) { p.queue[i], p.queue[j] = p.queue[j], p.queue[i] })
	}
	for len(p.queue) > 0 && len(p.polls) < plan.PollHandful {
		other := p.queue[len(p.queue)-1]
		p.queue = p.queue[:len(p.queue)-1]
		if w.versions[p.version].has(other) {
			w.askTotal(p, other)
		}
	}
}

func (w *World) askTotal(p *pod, other int32) {
	q := w.pods[other]
	if q == p {
		return
	}
	w.m.polled(p, q)
	if q.dead || w.cfg.Net.ReportLoss > 0 && w.rng.Float64() < w.cfg.Net.ReportLoss {
		p.polls = append(p.polls, polledReport{pod: -1})
		return
	}
	p.polls = append(p.polls, polledReport{other, report{
		load: w.load(q), ready: !q.stopping, reaching: q.state.Reaching(),
	}})
}

func (w *World) polled(p *pod) {
	if p.dead {
		return
	}
	for i := range p.polls {
		got := &p.polls[i]
		if got.pod < 0 {
			continue
		}
		old := &p.reports[got.pod]
		if old.at > 0 && !old.ready {
			p.unready--
		}
		if !got.r.ready {
			p.unready++
		}
		*old = got.r
		old.at = w.now
	}
	p.polls = p.polls[:0]
}

// ask puts one round of questions, once.
func (w *World) ask(p *pod, q *plan.Query) {
	if p.asked != nil && p.asked.ID == q.ID {
		return
	}
	p.asked, p.counts = q, nil
	took := w.between(2*time.Millisecond, 10*time.Millisecond) + w.cfg.Net.ReportDelay
	for _, pod := range sortedPods(q) {
		if other := w.byID(p, pod); other == nil || other.dead {
			took = askTimeout
		}
	}
	w.push(evAnswers, w.now+took, p.idx, int32(q.ID))
}

func (w *World) answersArrive(p *pod, id int32) {
	q := p.asked
	if p.dead || q == nil || int32(q.ID) != id {
		return
	}
	counts := &plan.Counts{Query: q.ID, ByPod: map[string]map[string]int{}, SingleHomed: map[string]bool{}}
	for _, pod := range sortedPods(q) {
		other := w.byID(p, pod)
		w.m.asked(p, other, len(q.Keys[pod]))
		if other == nil || other.dead || w.cfg.Net.ReportLoss > 0 && w.rng.Float64() < w.cfg.Net.ReportLoss {
			continue
		}
		counts.ByPod[pod] = w.countsOf(other, q.Keys[pod])
		for _, key := range q.Keys[pod] {
			if other.state.SingleHomed()[key] {
				counts.SingleHomed[key] = true
			}
		}
	}
	p.counts = counts
	w.poke(p)
}

func sortedPods(q *plan.Query) []string {
	pods := make([]string, 0, len(q.Keys))
	for pod := range q.Keys {
		pods = append(pods, pod)
	}
	slices.Sort(pods)
	return pods
}

// byID finds a pod that p's view of the membership has.
func (w *World) byID(p *pod, id string) *pod {
	if p.version < 0 {
		return nil
	}
	v := w.versions[p.version]
	if i, found := slices.BinarySearch(v.ids, id); found {
		return w.pods[v.pods[i]]
	}
	return nil
}

func (w *World) countsOf(p *pod, keys []string) map[string]int {
	counts := make(map[string]int, len(keys))
	for _, key := range keys {
		serving, _ := w.countKey(p, w.keyNumber(key))
		counts[key] = int(serving)
	}
	return counts
}

// move asks a connection to leave.
func (w *World) move(p *pod, m *plan.Drain) {
	slot := slotOf(m.ID)
	c := &w.conns[slot]
	if c.serial != m.ID>>slotBits || c.pod != p.idx || w.info(c).Draining {
		return
	}
	w.m.goAway(w, c, m.Reason)
	w.leave(slot, m.Reason)
}

// leave is the GOAWAY: the client goes on elsewhere, the connection ends when its streams
// have.
func (w *World) leave(slot int32, why reason.Reason) {
	w.markDraining(slot, why)
	c := &w.conns[slot]
	cl := &w.clients[c.client]
	ends := w.between(5*time.Millisecond, 100*time.Millisecond)
	if cl.long {
		ends = w.cfg.Groups[cl.group].LongFor
	}
	w.events.push(event{at: w.now + ends, kind: evClose, a: slot, c: c.serial})
	w.lost(c.client, c.pod)
}

// drainWindow is how long a pod that stops spreads its own GOAWAYs.
const drainWindow = 5 * time.Second

func (w *World) stop(p *pod) {
	p.stopping, p.ready = true, false
	w.endpointsChanged()
	forgotten := w.between(time.Second, 2*time.Second)
	w.after(forgotten, func() {
		for i := range p.infos {
			if c := &p.infos[i]; !c.Draining {
				slot := slotOf(c.ID)
				w.events.push(event{at: w.now + w.upTo(drainWindow), kind: evDrain, a: slot, c: w.conns[slot].serial})
			}
		}
	})
	w.after(forgotten+drainWindow+200*time.Millisecond, func() { w.gone(p) })
}

func (w *World) drainOne(slot int32, serial uint64) {
	if c := &w.conns[slot]; c.serial == serial && !w.info(c).Draining {
		w.leave(slot, reason.Shutdown)
	}
}

// gone closes what is left.
func (w *World) gone(p *pod) {
	p.dead = true
	for len(p.infos) > 0 {
		info := p.infos[len(p.infos)-1]
		client := w.conns[slotOf(info.ID)].client
		w.remove(slotOf(info.ID))
		if !info.Draining {
			w.lost(client, p.idx)
		}
	}
	p.reports, p.uptime, p.keys = nil, nil, map[int32]*keyState{}
}
