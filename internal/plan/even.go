package plan

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// evener moves the connections of single-homed clients (pick_first, ClusterIP) until the
// loads are inside the band, with as few GOAWAYs as possible, and stops.
//
//	out of the band for long enough    choose connections
//	query other pods for their keys    leave out multi-homed clients
//	send GOAWAYs, paced
//	fresh reports have come            check again
//
// A moved connection lands anywhere, so a round may miss. One that changes nothing is
// followed by a pause that grows.
type evener struct {
	pods      []podLoad     // a buffer
	changedAt time.Duration // when the membership changed, as of the trial
	heardAt   time.Duration // when enough loads were last known; 0: the view is new
	mean      float64       // as of the last plan; 0: not known

	out         bool // of the band, since outSince
	outSince    time.Duration
	outAt       time.Duration // when it last was
	unevenSince time.Duration // since when, while this pod has nothing to give; 0: not yet
	wasEven     bool          // since the membership changed
	restRounds  int           // rounds since then, while it was at rest

	ranks    []ranked // a buffer
	query    *Query
	chosen   []choice // waits for the answers to query
	give     float64  // what this round should move
	reason   reason.Reason
	queue    []uint64
	total    int
	nextAt   time.Duration // no round begins before
	landedAt time.Duration // older reports do not show the last round
	flights  flights

	planned    int    // connections that a dry run would drain; 0: not decided
	plannedWhy string // the sentence on it

	relief     relief
	trial      trial
	allowance  allowance
	stuck      Verdict
	stuckWhy   string // why nothing that should move can
	stuckCause cause  // of that sentence
}

// reached reports whether multi-homed clients are on all pods by now. They are if the last
// growth was completed, or is so long ago that all its rounds would be over, wherever they had
// to wait for the end of a rollout.
func (s *State) reached(v *View) bool {
	return s.growth == nil && (s.growthCompleted || v.Now-s.members.changedAt() >= establishedAt)
}

// Due reports whether Next may choose connections for evenness, and so needs
// View.Conns.
func (s *State) Due(v *View, p *Policy) bool {
	if !p.Enabled || v.NoPeers != "" || v.Stale != "" || v.Out != "" {
		return false
	}
	e := &s.even
	if e.query != nil {
		return true
	}
	if v.Now < max(e.nextAt, e.trial.until) || p.DryRun && e.planned > 0 {
		return false
	}
	mates := s.zoneView(v)
	l, ok := e.measure(&mates, p)
	return ok && l.self.load > l.level*l.self.share
}

// calm reports whether nothing has changed for long, and the pods were even since. Then
// imbalance comes from clients that come and go, and what is moved is soon undone.
func (s *State) calm(v *View) bool {
	quiet := v.Now - s.members.changedAt()
	if uptime, known := v.Uptime[v.Self]; known { // it did not see the changes before
		quiet = min(quiet, uptime)
	}
	return quiet >= soonAfter && (s.even.wasEven || quiet >= calmAfter)
}

// evenness runs after reach, which has set the verdict.
func (s *State) evenness(v *View, p *Policy, st *Step) {
	e := &s.even
	e.relief.observe(v, e.mean)
	e.allowance.observe(v)
	if changed := s.members.changedAt(); e.changedAt != changed { // earlier rounds do not predict those to come
		e.changedAt, e.restRounds, e.wasEven, e.planned = changed, 0, false, 0
		e.flights, e.trial = flights{emptyAt: v.Now, last: e.flights.last}, trial{level: e.trial.level, before: e.trial.before}
	}
	e.trial.misses = e.trial.misses && v.Now < e.trial.until
	s.clients.begin(era{s.Generation, s.reached(v)})
	e.mean = 0
	if len(v.Members) == 1 || s.hold {
		e.drop()
		return
	}
	l, ok := e.measure(v, p)
	if e.heardAt == 0 || ok {
		e.heardAt = v.Now
	}
	if !ok {
		e.stop()
		if v.Now-e.heardAt < ReportFresh { // the first reports are on their way
			return
		}
		st.unlessMoving(Stale, fmt.Sprintf("only %d of %d other pods reported their load within %v: no connection moves until more of them do",
			l.known, len(v.Members)-1, ReportFresh))
		return
	}
	e.mean = l.mean
	switch {
	case s.reaching || l.reaching:
		e.stop()
		st.unlessMoving(Waiting, "another pod drains multi-homed clients so that they find new pods: evenness waits until they have settled")
	case len(e.queue) > 0:
		s.moveEven(v, p, st)
	case e.query != nil:
		s.choose(v, p, st)
	default:
		s.decide(&l, v, p, st)
	}
}

// drop ends what is under way because the view cannot be acted upon.
func (e *evener) drop() {
	e.stop()
	e.heardAt = 0
}

// stop ends what is under way.
func (e *evener) stop() {
	e.query, e.chosen, e.queue, e.out = nil, nil, nil, false
}

// decide begins a round, or explains why not.
func (s *State) decide(l *loads, v *View, p *Policy, st *Step) {
	e := &s.even
	give := s.surplus(l, v, p)
	if give <= 0 {
		// If only some pods are polled each second, one may be out of sight for a while.
		if v.Now-e.outAt >= ReportFresh {
			e.out, e.planned = false, 0
		}
		e.stuckWhy, e.stuckCause = "", notStuck
		s.inside(l, v, p, st)
		return
	}
	e.outAt = v.Now
	if !e.out {
		e.out, e.outSince = true, v.Now
	}
	if e.planned > 0 {
		st.unlessMoving(Waiting, e.plannedWhy)
		return
	}
	if s.holdBack(l, v, p, st) {
		return
	}
	pause, wait, progressed := e.trial.futile(l, v, p)
	if progressed {
		e.restRounds = 0
	}
	switch {
	case pause:
		s.clients.comeBack = s.clients.comeBack || !e.trial.misses
		st.note("paused", 0, "%s", e.trial.why)
		st.is(Unbalanceable, e.trial.why)
		return
	case wait:
		st.wakeAt(v.Now+time.Second, v.Now)
		st.unlessMoving(Moving, describe(l, v, p)+": waiting for fresh load reports to see where connections landed")
		return
	}
	e.give, e.reason = give, reason.Even
	if v.Overloaded != "" {
		e.reason = reason.Overload
	}
	s.begin(l, v, p, st)
}

// holdBack reports whether a round must not begin now, and says why.
func (s *State) holdBack(l *loads, v *View, p *Policy, st *Step) bool {
	e := &s.even
	switch {
	case v.Now < e.trial.until:
		st.unlessMoving(Unbalanceable, e.trial.why)
		return true
	case l.paused:
		st.unlessMoving(Unbalanceable, "another pod has seen that drained connections do not land where they should: this pod waits until that pod has tried again")
		return true
	case l.total <= 0 || l.total < 1 && l.flight > 0 && p.Whole || e.flights.landing(l, v.Now):
		st.unlessMoving(Waiting, inFlight(v))
		return true
	case s.calm(v) && e.allowance.spent(p):
		st.unlessMoving(Balanced, "the pods are uneven by chance, as connections come and go: to move more of them than this would not last")
		return true
	}
	from := max(e.outSince+s.mustLast(v, p), e.nextAt, s.members.evenFrom(p))
	if 4*l.renewed < 3*l.known && v.Now < e.nextAt+lossy {
		from = max(from, v.Now+time.Second)
	}
	if v.Now >= from {
		return false
	}
	st.wakeAt(from, v.Now)
	if e.stuckWhy == "" {
		st.unlessMoving(Moving, describe(l, v, p)+": waiting for fresh load reports to confirm the imbalance")
	} else {
		st.unlessMoving(e.stuck, e.stuckWhy)
	}
	return true
}

// rollingExcess is how many times the mean a pod may carry while pods are being replaced.
const rollingExcess = 2

// surplus is how much of its load this pod should give away.
func (s *State) surplus(l *loads, v *View, p *Policy) float64 {
	level := l.level
	if s.members.rolling(v) { // each move before the end of a rollout is one too many
		level = max(level, rollingExcess*l.mean)
	}
	switch {
	case p.Whole && l.self.load-1 < max(l.own.Under, l.least):
		return 0 // with one connection less it would be under-loaded itself
	case v.Overloaded != "" && !l.canTake:
		return 0
	}
	return min(l.self.load-level*l.self.share, l.self.load-l.least)
}

// begin chooses connections and queries other pods for their keys.
func (s *State) begin(l *loads, v *View, p *Policy, st *Step) {
	e := &s.even
	s.queries++
	if !p.DryRun { // which says all that should move, not the first look
		e.give = e.trial.bound(e.give, l, len(v.Members), s.calm(v))
	}
	if l.self.load > 0 { // more than v.Load if this pod hangs, whose connections weigh less
		e.give *= v.Load / l.self.load
	}
	if p.Whole {
		e.give = whole(e.give, v.Self, s.queries)
	}
	e.nextAt = v.Now + e.interval(v, p)
	if e.give == 0 {
		st.wakeAt(e.nextAt, v.Now)
		st.unlessMoving(Moving, describeRound(0))
		return
	}
	var why stuck
	e.chosen, why = s.candidates(v, p, s.queries)
	if len(e.chosen) == 0 && why.cooling > 0 {
		e.nextAt = v.Now + lastsSoon
		e.stuck, e.stuckWhy, e.stuckCause = Waiting, why.text(p), coolingDown
		st.wakeAt(e.nextAt, v.Now)
		st.is(Waiting, e.stuckWhy)
		return
	}
	if len(e.chosen) == 0 && why.heavy > 0 && e.give <= p.Tolerance*l.mean {
		e.nextAt = v.Now + ReportFresh
		st.is(Balanced, "this pod is as near to the band as its connections allow: the lightest of them carries more than its excess")
		return
	}
	if len(e.chosen) == 0 {
		s.stuckFor(&why, v, p, st)
		return
	}
	e.query = s.queryWitnesses(s.queries, v)
	s.queryHolders(e.query, v)
	st.Query = e.query
	st.is(e.verdict(), describeRound(len(e.chosen)))
}

// whole rounds by chance, so that many pods that should give half a connection each give
// half as many together.
func whole(give float64, self string, round uint64) float64 {
	n := math.Floor(give)
	b := binary.LittleEndian.AppendUint64([]byte(self), round)
	if float64(xxhash.Sum64(b))/(1<<64) < give-n {
		n++
	}
	return n
}

// choose takes the answers and begins to move.
func (s *State) choose(v *View, p *Policy, st *Step) {
	e := &s.even
	if v.Counts == nil || v.Counts.Query != e.query.ID {
		st.Query = e.query
		st.is(e.verdict(), describeRound(len(e.chosen)))
		return
	}
	var why stuck
	e.queue, why = s.movable(v, p)
	e.query, e.chosen = nil, nil
	if s.calm(v) && e.allowance.limits(p) {
		e.queue = e.queue[:min(len(e.queue), int(e.allowance.left))]
	}
	if len(e.queue) == 0 {
		if why.silent > 0 {
			e.nextAt = v.Now + queryPause
			st.wakeAt(e.nextAt, v.Now)
			st.is(e.verdict(), "no other pod has answered the query for the chosen clients: this pod queries again")
			return
		}
		s.stuckFor(&why, v, p, st)
		if why.multiHomed > 0 {
			e.nextAt = v.Now + landing // there may be others
		}
		return
	}
	e.stuckWhy, e.stuckCause = "", notStuck
	if p.DryRun {
		s.planEven(v, p, st)
		return
	}
	e.total = len(e.queue)
	if s.calm(v) {
		e.restRounds++
		e.allowance.left -= float64(e.total)
	}
	s.pace.start(v.Now, e.total, roundLength(e.total, 1, p))
	st.note("move", e.total, "%s", s.movingText())
	s.moveEven(v, p, st)
}

// moveEven drains the connections that are due now.
func (s *State) moveEven(v *View, p *Policy, st *Step) {
	e := &s.even
	n := s.pace.take(v, p, len(e.queue))
	why := "this pod carries more load than others"
	if e.reason == reason.Overload {
		why = "this pod is overloaded"
	}
	for _, id := range e.queue[:n] {
		st.Drains = append(st.Drains, Drain{ID: id, Reason: e.reason, Why: why})
	}
	e.queue = e.queue[n:]
	st.is(e.verdict(), s.movingText()+s.pace.why())
	e.trial.rounds += float64(n) / float64(e.total)
	if s.pace.exhausted {
		e.queue = nil // once the budget has room again, other connections will be due
	}
	if len(e.queue) > 0 {
		st.wakeAt(s.pace.wake(v), v.Now)
		return
	}
	e.landedAt = v.Now + landing
	e.nextAt = v.Now + e.interval(v, p)
	st.wakeAt(e.nextAt, v.Now)
}

// unexplained reports whether loads that come and go by themselves, such as requests, are uneven
// although nothing has changed since the first view: most likely by chance.
func (s *State) unexplained(p *Policy) bool { return !p.Whole && s.members.changes[0] == 0 }

// mustLast is how long a pod must have been out of the band.
func (s *State) mustLast(v *View, p *Policy) time.Duration {
	switch {
	case s.calm(v):
		least := lastsLater
		if !p.Whole {
			least = lastsLong
		}
		return min(least<<min(s.even.restRounds, 10), mostPatience)
	case s.unexplained(p):
		return lastsYoung
	case len(v.Members)-1 > PollAll:
		return 0 // this pod rarely sees the few under-loaded ones twice
	}
	return lastsSoon
}

// interval is the least time between two rounds. It lasts until the clients are on another
// pod, and the pods have reported it.
func (e *evener) interval(v *View, p *Policy) time.Duration {
	switch {
	case len(v.Members)-1 > PollAll:
		return landing + ReportFresh // so that no report from before counts
	case p.Whole && !e.trial.landed:
		return landing + 3*time.Second // all pods must see where the first ones landed
	case p.Whole:
		return landing + 2*time.Second
	}
	return weighing
}
