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
	overloaded  []bool        // a buffer: which of all are overloaded
	all         []float64     // a buffer
	changedAt   time.Duration // State.changedAt, as of the trial
	heardAt     time.Duration // when enough loads were last known; 0: the view is new
	outSince    time.Duration
	unevenSince time.Duration // since when, while this pod has nothing to give; 0: not yet
	out         bool          // of the band, since outSince
	outAt       time.Duration // when it last was

	ranks    []ranked // a buffer
	query    *Query
	chosen   []choice // waits for the answers to query
	give     float64  // what this round should move
	mean     float64  // of all pods, at the beginning of the round
	reason   reason.Reason
	queue    []uint64
	total    int
	nextAt   time.Duration // no round begins before
	landedAt time.Duration // older reports do not show the last round

	trial           trial
	multiHomedUntil map[string]time.Duration // until when keys count as those of multi-homed clients
	era             era                      // as of multiHomedUntil
	stuckWhy        string                   // why nothing that should move can
	stuckCause      cause                    // of that sentence
}

// shedShare is the part of its load that an overloaded pod gives away in a round.
const shedShare = 0.05

// era is a time in which the same pods can show whether a client is multi-homed.
type era struct {
	generation uint64
	reached    bool
}

// reached reports whether multi-homed clients are on all pods by now. They are if the last
// growth was completed, or is so long ago that all its rounds would be over. A growth that
// was abandoned does not count.
func (s *State) reached(v *View) bool {
	return s.growth == nil && (s.growthCompleted || v.Now-s.changedAt >= longServing)
}

// Due reports whether Next may choose connections for evenness, and so needs
// View.Conns.
func (s *State) Due(v *View, p *Policy) bool {
	if !p.Enabled || v.NoPeers != "" || v.Stale != "" {
		return false
	}
	e := &s.even
	return e.query != nil || v.Now >= max(e.nextAt, e.trial.until) && e.mayGive(v, p)
}

func (e *evener) mayGive(v *View, p *Policy) bool {
	l, ok := e.measure(v, p)
	return ok && (v.Overloaded != "" || l.self > l.level)
}

// evenness runs after reach, which has set the verdict.
func (s *State) evenness(v *View, p *Policy, st *Step) {
	e := &s.even
	if e.changedAt != s.changedAt { // earlier rounds do not predict those to come
		e.changedAt, e.trial = s.changedAt, trial{level: e.trial.level}
	}
	if now := (era{s.Generation, s.reached(v)}); e.era != now {
		e.era, e.multiHomedUntil = now, nil // other pods show now which clients are multi-homed
	}
	if len(v.Members) == 1 || st.Verdict == Waiting || s.joining {
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
	switch {
	case s.reaching || l.reaching:
		e.stop()
		st.unlessMoving(Moving, "another pod drains multi-homed clients so that they find new pods: evenness waits until they have settled")
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
	give, why := surplus(l, v, p)
	if give <= 0 {
		// If only some pods are polled each second, one may be out of sight for a while.
		e.out = e.out && v.Now-e.outAt < ReportFresh
		e.stuckWhy, e.stuckCause = "", notStuck
		s.inside(l, v, p, st)
		return
	}
	e.outAt = v.Now
	if !e.out {
		e.out, e.outSince = true, v.Now
	}
	if v.Now < e.trial.until {
		st.unlessMoving(Unbalanceable, e.trial.why)
		return
	}
	from := max(e.outSince+s.mustLast(v), e.nextAt, s.quietFrom(p))
	if 4*l.renewed < 3*l.known && v.Now < e.nextAt+lossy {
		from = max(from, v.Now+time.Second)
	}
	if v.Now < from {
		st.wakeAt(from, v.Now)
		if e.stuckWhy == "" {
			st.unlessMoving(Moving, describe(l, v, p)+": waiting for fresh load reports to confirm the imbalance")
		} else {
			st.unlessMoving(Unbalanceable, e.stuckWhy)
		}
		return
	}
	if e.trial.futile(l, v) {
		st.note("paused", 0, "%s", e.trial.why)
		st.is(Unbalanceable, e.trial.why)
		return
	}
	e.give, e.reason, e.mean = give, why, l.mean
	s.begin(v, p, st)
}

// surplus is how much of its load this pod should give away, and for which reason.
func surplus(l *loads, v *View, p *Policy) (give float64, why reason.Reason) {
	give = l.self - l.level
	if v.Overloaded != "" && l.canTake {
		shed := min(max(shedShare*l.self, 1), l.self-l.under)
		if p.Whole {
			shed = math.Floor(shed + 1e-6)
		}
		if shed > max(give, 1e-6*l.self) {
			return shed, reason.Overload
		}
	}
	if p.Whole && l.self-1 < l.under {
		return 0, "" // with one connection less it would be under-loaded itself
	}
	return give, reason.Even
}

// begin chooses connections and queries other pods for their keys.
func (s *State) begin(v *View, p *Policy, st *Step) {
	e := &s.even
	s.queries++
	e.give = e.trial.bound(e.give, p)
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
	e.chosen, why = e.candidates(v, p, s.queries)
	if len(e.chosen) == 0 && why.cooling > 0 {
		e.nextAt = v.Now + lastsSoon
		st.wakeAt(e.nextAt, v.Now)
		st.is(Waiting, why.text(p))
		return
	}
	if len(e.chosen) == 0 && why.heavy > 0 && e.give <= p.Tolerance*s.even.mean {
		e.nextAt = v.Now + ReportFresh
		st.is(Balanced, "this pod is as near to the band as its connections allow: the lightest of them carries more than its excess")
		return
	}
	if len(e.chosen) == 0 {
		e.stuckFor(&why, v, p, st)
		return
	}
	e.query = e.queryWitnesses(s.queries, e.era.reached, v)
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
	e.queue, why = e.movable(v)
	e.query, e.chosen = nil, nil
	if len(e.queue) == 0 {
		if why.silent > 0 {
			e.nextAt = v.Now + queryPause
			st.wakeAt(e.nextAt, v.Now)
			st.is(e.verdict(), "no other pod has answered the query for the chosen clients: this pod queries again")
			return
		}
		e.stuckFor(&why, v, p, st)
		if why.multiHomed > 0 {
			e.nextAt = v.Now + landing // there may be others
		}
		return
	}
	e.stuckWhy, e.stuckCause = "", notStuck
	e.total = len(e.queue)
	s.pace.start(v.Now, e.total, p)
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
