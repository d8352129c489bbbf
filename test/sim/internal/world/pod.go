package world

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// manyPods is the number of members above which a pod builds its map of uptimes only during a
// growth. The map costs more than planning, so pods at rest and pods of a large fleet renew it at
// most every 5 s.
const manyPods = 100

// pod runs the planning code as rebalance.Balancer does.
type pod struct {
	idx      int32
	id       string
	begun    time.Duration
	servedAt time.Duration // when the Service first listed it; 0: it has not
	listedAt time.Duration // when it last did
	revision int32         // of the workload that it runs
	departed uint64        // connections that clients closed by themselves
	awayAt   time.Duration // since when it is not ready although it was; 0: it is, or never was
	starts   int32         // how often it began again; the loops of an earlier process end
	ready    bool          // passes its readiness probe
	starting bool          // has an address, and is not ready yet
	listed   bool          // the Service has listed it
	out      bool          // it is not listed any more, and knows it
	hangs    bool          // its handlers hang
	stopping bool
	dead     bool
	unlisted bool // serves although it is not ready: its readiness flips
	unsteady bool // comes and goes forever, so it does not count for evenness
	hot      bool // overloaded

	infos   []plan.Conn
	sum     float64       // the sum of the weights, as of the last sample
	sampled time.Duration // when the last sample was taken
	serving int
	flying  plan.Flight // without Oldest
	flights []flight    // the oldest first; some may have landed
	hungAt  time.Duration
	keys    map[int32]*keyState // of keys with draining connections or recent drains
	recent  []recentDrain
	returns plan.Returns

	state    plan.State
	verdict  plan.Verdict
	why      string
	tickNo   int32
	tickAt   time.Duration
	lastTick time.Duration
	resting  bool

	version int32    // of the membership; -1: none yet
	partial *version // what the last answer of DNS had of version; nil: all of it
	reports []report // by pod; the latest of each
	unready int      // the number of reports of unready pods
	polls   []polledReport
	rota    peerview.Rota[int32]
	members []string // a buffer for the ready pods of version, if some are not ready

	uptime    map[string]time.Duration
	uptimeAt  time.Duration
	uptimeFor int32

	gate gate

	query  *plan.Query
	counts *plan.Counts
	bytes  float64
	// arrived is how many connections it accepted within the second that began at arrivedIn.
	arrived   int
	arrivedIn time.Duration
	load      float64       // as last measured
	overFor   time.Duration // how long it was above Config.Limit since Measure
	mostShare float64       // the largest part that it had of the connections, over its share
	judged    int           // how often the verdict changed since Measure
}

type polledReport struct {
	pod int32 // -1: no answer
	r   report
}

func (p *pod) alive() bool { return !p.stopping && !p.dead }

// The code that ships takes times of day, and the simulation counts from an epoch.
var epoch = time.Unix(0, 0)

func (w *World) clock() time.Time { return epoch.Add(w.now) }

func (w *World) newPod(begun time.Duration) *pod {
	p := w.blankPod(int32(len(w.pods)), begun)
	w.pods = append(w.pods, p)
	return p
}

func (w *World) blankPod(i int32, begun time.Duration) *pod {
	return &pod{idx: i, revision: w.revision, id: w.podID(int(i)), begun: begun, version: -1, keys: map[int32]*keyState{}, uptime: map[string]time.Duration{}}
}

// startLoops starts the pod's loops for membership, polls and plans, each at a random phase.
func (w *World) startLoops(p *pod, at time.Duration) {
	if w.plain(p) {
		return
	}
	w.push(evPoll, at+w.upTo(peerview.PollEvery), p.idx, p.starts)
	if w.cfg.Net.ViewEvery > 0 {
		w.push(evLook, at+w.upTo(w.cfg.Net.ViewEvery), p.idx, p.starts)
	} else {
		delay := w.between(w.cfg.Net.ViewDelay[0], w.cfg.Net.ViewDelay[1])
		w.push(evView, at+delay, p.idx, int32(len(w.versions)-1))
	}
	w.planAt(p, at+w.upTo(plan.LongestRest))
}

// planAt schedules the next plan of p for t and cancels the previous schedule.
func (w *World) planAt(p *pod, t time.Duration) {
	p.tickNo++
	p.tickAt = t
	w.push(evTick, t, p.idx, p.tickNo)
}

// poke makes p plan as soon as MinWake allows.
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

// tick does what the loop of rebalance does: view, plan, act, and schedule the next tick.
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
	w.recordStep(p, &step)
	for i := range step.Drains {
		w.drainPlanned(p, &step.Drains[i])
	}
	if step.Query != nil {
		w.sendQuery(p, step.Query)
	}
	w.sweep(p)
	p.lastTick = w.now
	p.resting = len(v.Conns) == 0 && len(step.Drains) == 0
	w.planAt(p, w.now+w.pause(p, step.Wake))
}

func (w *World) pause(p *pod, wake time.Duration) time.Duration {
	most := plan.LongestRest
	if w.rests() && p.resting {
		most = w.cfg.RestTick
	}
	if wake > 0 {
		most = min(most, wake)
	}
	return max(most, w.cfg.MinWake)
}

// rests reports whether it is late enough for pods at rest to use RestTick.
func (w *World) rests() bool { return w.cfg.RestTick > 0 && w.now >= Begin+w.cfg.RestFrom }

// viewOf returns the pod's View. It is reused at the next tick of any pod.
func (w *World) viewOf(p *pod) *plan.View {
	v := &w.view
	*v = plan.View{Now: w.now, Counts: p.counts, Load: w.load(p), Serving: p.serving, Streams: w.streams(p), Returns: p.returns, InFlight: w.inFlight(p)}
	v.Members, v.Stale = w.membersOf(p)
	v.Overloaded = w.overloaded(p)
	v.Warm = w.warm(p)
	v.Share = w.capacity(p) * v.Warm
	if v.Stale != "" {
		return v
	}
	w.addEndpoints(p, v)
	busy := p.state.Growing(v.Members)
	if busy || len(v.Members) < manyPods {
		v.Uptime = w.uptimes(p, busy)
	}
	v.Peers = w.peersOf(p, v.Members)
	w.lookAtDNS(p, v, busy)
	if busy || p.state.Due(v, &w.cfg.Policy) {
		v.Conns = p.infos // not copied: planning does not modify a View, as a test checks
	}
	return v
}

// membersOf returns the members that serve, as p sees them, or the reason why p cannot know.
func (w *World) membersOf(p *pod) (members []string, stale string) {
	if p.version < 0 {
		return nil, "the membership has not been seen yet"
	}
	if w.now < w.blindUntil {
		return nil, "the membership cannot be read"
	}
	v := w.seenBy(p)
	w.noticeListing(p, v)
	if !v.has(p.idx) && (!p.out || w.now-p.listedAt < outAfter) {
		return nil, "the membership does not list this pod"
	}
	if p.unready == 0 {
		return v.ids, ""
	}
	p.members = p.members[:0]
	for i, other := range v.pods {
		if !w.reportedUnready(p, other) {
			p.members = append(p.members, v.ids[i])
		}
	}
	return p.members, ""
}

func (w *World) reportedUnready(p *pod, other int32) bool {
	if int(other) >= len(p.reports) || other == p.idx {
		return false
	}
	r := &p.reports[other]
	return !r.Ready && r.Fresh(w.now, peerview.ProvenFor(len(w.seenBy(p).pods), false))
}

// uptimes returns how long each pod has served, for the pods that have reported.
func (w *World) uptimes(p *pod, busy bool) map[string]time.Duration {
	v := w.seenBy(p)
	if (len(v.pods) > manyPods || !busy) && p.uptimeFor == p.version && w.now-p.uptimeAt < 5*time.Second {
		return p.uptime
	}
	clear(p.uptime)
	p.uptimeAt, p.uptimeFor = w.now, p.version
	p.uptime[p.id] = w.uptimeOf(p)
	for i, other := range v.pods {
		if int(other) < len(p.reports) && p.reports[other].At > 0 {
			p.uptime[v.ids[i]] = w.uptimeOf(w.pods[other])
		}
	}
	return p.uptime
}

// peersOf returns the reports of the other pods in the order of members.
func (w *World) peersOf(p *pod, members []string) []plan.Peer {
	w.peers = w.peers[:0]
	v := w.seenBy(p)
	at := 0
	for i, other := range v.pods {
		if at == len(members) || members[at] != v.ids[i] {
			continue
		}
		at++
		if other == p.idx || int(other) >= len(p.reports) {
			continue
		}
		if peer, ok := p.reports[other].peer(v.ids[i], w.now); ok {
			peer.OtherSalt = w.salt(w.pods[other]) != w.salt(p)
			w.peers = append(w.peers, peer)
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

func (w *World) lookAtMembers(p *pod, starts int32) {
	if p.dead || starts != p.starts {
		return
	}
	w.viewArrives(p, int32(len(w.versions)-1))
	w.readPartly(p)
	w.push(evLook, w.now+w.cfg.Net.ViewEvery, p.idx, p.starts)
}

// drainPlanned drains a connection for rebalancing, unless it is gone or draining already.
func (w *World) drainPlanned(p *pod, d *plan.Drain) {
	slot := slotOf(d.ID)
	c := &w.conns[slot]
	if c.serial != d.ID>>slotBits || c.pod != p.idx || w.info(c).Draining {
		return
	}
	w.m.goAway(w, c, d.Reason)
	w.m.drainedOf(c.client)
	w.drain(slot, d.Reason)
}

// drain sends the GOAWAY: the client reconnects, and the connection closes once its streams have
// ended.
func (w *World) drain(slot int32, why reason.Reason) {
	w.markDraining(slot, why)
	c := &w.conns[slot]
	cl := &w.clients[c.client]
	ends := w.between(5*time.Millisecond, 100*time.Millisecond)
	if w.info(c).Streams > 0 {
		ends = w.streamsLast(cl)
	}
	w.events.push(event{at: w.now + ends, kind: evClose, a: slot, c: c.serial})
	if !w.waits(slot) {
		w.reconnect(c.client, c.pod)
	}
}

// drainWindow is the time over which a stopping pod spreads its GOAWAYs.
const drainWindow = 5 * time.Second

func (w *World) stop(p *pod) {
	p.stopping, p.ready, p.starting = true, false, false
	w.setOut(p, false)
	w.says(p, "stops")
	w.endpointsChanged()
	delay := w.between(time.Second, 2*time.Second)
	w.after(delay, func() {
		for i := range p.infos {
			if c := &p.infos[i]; !c.Draining {
				slot := slotOf(c.ID)
				w.events.push(event{at: w.now + w.upTo(drainWindow), kind: evDrain, a: slot, c: w.conns[slot].serial})
			}
		}
	})
	w.after(delay+drainWindow+200*time.Millisecond, func() { w.exit(p) })
}

func (w *World) drainAtShutdown(slot int32, serial uint64) {
	if c := &w.conns[slot]; c.serial == serial && !w.info(c).Draining {
		w.drain(slot, reason.Shutdown)
	}
}

// exit ends a pod: it closes the remaining connections.
func (w *World) exit(p *pod) {
	p.dead, p.starting = true, false
	w.setOut(p, false)
	if p.stopping {
		w.endpointsChanged()
	}
	for len(p.infos) > 0 {
		info := p.infos[len(p.infos)-1]
		client, waits := w.conns[slotOf(info.ID)].client, w.waits(slotOf(info.ID))
		w.remove(slotOf(info.ID))
		if !info.Draining || waits {
			w.reconnect(client, p.idx)
		}
	}
	p.reports, p.uptime, p.keys = nil, nil, map[int32]*keyState{}
}

// uptimeOf is how long p has served: since the Service listed it first.
func (w *World) uptimeOf(p *pod) time.Duration {
	switch {
	case p.begun == 0:
		return w.now
	case p.servedAt == 0:
		return 0
	}
	return w.now - p.servedAt
}
