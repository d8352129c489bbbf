package plan

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// evener moves sticky connections (pick_first, ClusterIP) until the loads are inside the
// band, with as few GOAWAYs as can be, and stops.
//
//	out of the band for long enough    choose connections
//	their keys are asked for           those of spread clients are left alone
//	GOAWAYs, paced
//	the pods have told anew            look again
//
// A moved connection lands anywhere, so that a round may miss; one that brings nothing is
// followed by a pause that grows.
type evener struct {
	hot     []bool        // a buffer: which of all are overloaded
	all     []float64     // a buffer
	changed time.Duration // State.seenAt, as of the trial
	heard   time.Duration // when enough pods told of their load; 0: the view is new
	since   time.Duration
	uneven  time.Duration // since when, where this pod has nothing to give; 0: not yet seen
	out     bool          // out of the band since then
	wanted  time.Duration // when it last was

	ranks  []ranked // a buffer
	ask    *Query
	chosen []choice // waits for the answers to ask
	give   float64  // what this round shall move
	mean   float64  // of all pods, then
	reason reason.Reason
	queue  []uint64
	total  int
	next   time.Duration // no round before
	fresh  time.Duration // reports from before are from before the last round

	trial   trial
	left    map[string]time.Duration // keys of spread clients, and until when they count as such
	era     era                      // as of left
	stuckAt string                   // why nothing that should move can
	stuckBy cause                    // of that sentence
}

const (
	// proxyWait is how long after a change kube-proxy may still send new
	// connections to the old pods only.
	proxyWait = 3 * time.Second
	// rollout: changes of the membership that follow each other within it are one.
	// The quiet after one is their distance, longestLull at most, and that if pods
	// left as well.
	rollout     = time.Minute
	longestLull = 30 * time.Second
	// soon after a change is when imbalance is expected and need not last.
	soonAfter  = 10 * time.Minute
	lastsSoon  = 2 * time.Second
	lastsLater = 20 * time.Second
	// landing is how long a client takes to come up elsewhere, and to be counted.
	landing = time.Second
	// askPause is between two questions of which the first was lost.
	askPause = 200 * time.Millisecond
	// lossy is how long a round waits for those of whose reports some were lost.
	lossy = 3 * time.Second
	// weighing is how long it takes until the weight of a connection that landed shows.
	weighing = 10 * time.Second
	// shedShare is the part of its load of which an overloaded pod rids itself in a
	// round.
	shedShare = 0.05
)

// Reaching reports whether this pod tells spread clients of a growth and has not seen yet
// where they went: until then its load and those of the new pods say nothing.
func (s *State) Reaching() bool { return s.reaching }

func (g *growth) reaching(now time.Duration) bool {
	if g == nil {
		return false
	}
	settling := g.phase == checking && g.total > 0 && now < g.told+resolverWait
	return g.phase == counting || g.phase == moving || settling || g.rested > 0 && !g.again
}

// era is a time in which the same pods can tell whether a client is spread.
type era struct {
	generation uint64
	reached    bool
}

// reached reports whether whoever is spread is on all pods by now: the last growth came to its
// end, or is so long ago that all its rounds would be over. One that was dropped does not count.
func (s *State) reached(v *View) bool {
	return s.growth == nil && (s.told || v.Now-s.seenAt >= longServing)
}

// Due reports whether Next may choose connections for evenness, and so needs
// View.Conns.
func (s *State) Due(v *View, p *Policy) bool {
	if !p.Enabled || v.NoPeers != "" || v.Stale != "" {
		return false
	}
	e := &s.even
	return e.ask != nil || v.Now >= max(e.next, e.trial.until) && e.wants(v, p)
}

func (e *evener) wants(v *View, p *Policy) bool {
	l, ok := e.measure(v, p)
	return ok && (v.Overloaded != "" || l.own > l.level)
}

// evenness runs after reach, which has set the verdict.
func (s *State) evenness(v *View, p *Policy, st *Step) {
	e := &s.even
	if e.changed != s.seenAt { // what rounds brought before says nothing about those to come
		e.changed, e.trial = s.seenAt, trial{level: e.trial.level}
	}
	if now := (era{s.Generation, s.reached(v)}); e.era != now {
		e.era, e.left = now, nil // who can tell that a client is spread is another now
	}
	if len(v.Members) == 1 || st.Verdict == Waiting || s.joining {
		e.drop()
		return
	}
	l, ok := e.measure(v, p)
	if e.heard == 0 || ok {
		e.heard = v.Now
	}
	if !ok {
		e.pause()
		if v.Now-e.heard < ReportFresh { // the first reports are on their way
			return
		}
		st.unlessMoving(Stale, fmt.Sprintf("only %d of %d other pods told their load within %v: no connection is moved for evenness",
			l.known, len(v.Members)-1, ReportFresh))
		return
	}
	switch {
	case s.reaching || l.reaching:
		e.pause()
		st.unlessMoving(Moving, "another pod tells clients of new pods: evenness waits until they have settled")
	case len(e.queue) > 0:
		s.moveEven(v, p, st)
	case e.ask != nil:
		s.choose(v, p, st)
	default:
		s.look(&l, v, p, st)
	}
}

// unlessMoving sets the verdict where the one so far is not Moving.
func (st *Step) unlessMoving(now Verdict, why string) {
	if st.Verdict != Moving {
		st.is(now, why)
	}
}

// drop ends what is under way on a view that cannot be acted upon.
func (e *evener) drop() {
	e.pause()
	e.heard = 0
}

// pause ends what is under way.
func (e *evener) pause() {
	e.ask, e.chosen, e.queue, e.out = nil, nil, nil, false
}

// look decides whether a round begins.
func (s *State) look(l *loads, v *View, p *Policy, st *Step) {
	e := &s.even
	give, why := wanted(l, v, p)
	if give <= 0 {
		// Where only some pods are asked each second, one may be out of sight for a while.
		e.out = e.out && v.Now-e.wanted < ReportFresh
		e.stuckAt, e.stuckBy = "", notStuck
		s.inside(l, v, p, st)
		return
	}
	e.wanted = v.Now
	if !e.out {
		e.out, e.since = true, v.Now
	}
	if v.Now < e.trial.until {
		st.unlessMoving(Unbalanceable, e.trial.why)
		return
	}
	from := max(e.since+s.lasts(v), e.next, s.lull(p))
	if 4*l.anew < 3*l.known && v.Now < e.next+lossy {
		from = max(from, v.Now+time.Second)
	}
	if v.Now < from {
		st.wakeAt(from, v.Now)
		if e.stuckAt == "" {
			st.unlessMoving(Moving, describe(l, v, p)+": waiting for the loads to last and for the pods to tell them anew")
		} else {
			st.unlessMoving(Unbalanceable, e.stuckAt)
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

// wanted is how much of its load this pod should give away, and for which reason.
func wanted(l *loads, v *View, p *Policy) (give float64, why reason.Reason) {
	give = l.own - l.level
	if v.Overloaded != "" && l.sheds {
		shed := min(max(shedShare*l.own, 1), l.own-l.under)
		if p.Whole {
			shed = math.Floor(shed + 1e-6)
		}
		if shed > max(give, 1e-6*l.own) {
			return shed, reason.Overload
		}
	}
	if p.Whole && l.own-1 < l.under {
		return 0, "" // without one it would itself be under-loaded
	}
	return give, reason.Even
}

// lasts is how long a pod must have been out of the band.
func (s *State) lasts(v *View) time.Duration {
	switch {
	case v.Now-s.seenAt >= soonAfter:
		return lastsLater
	case len(v.Members)-1 > PollAll:
		return 0 // the few that need load are rarely in sight twice
	}
	return lastsSoon
}

// lull is when the membership has been quiet for long enough to move sticky connections:
// in a rollout each move before its end is one too many.
func (s *State) lull(p *Policy) time.Duration {
	least := p.Settle + proxyWait
	gap, at := time.Duration(0), s.seenAt
	for _, before := range s.changes[1:] {
		if before == 0 || at-before > rollout {
			break
		}
		gap, at = max(gap, at-before), before
	}
	quiet := min(gap, longestLull)
	if s.went > 0 && max(s.came, s.went)-min(s.came, s.went) < rollout && s.seenAt-s.went < rollout {
		quiet = longestLull // pods are replaced
	}
	return s.seenAt + max(quiet, least)
}

// inside says why this pod gives nothing.
func (s *State) inside(l *loads, v *View, p *Policy, st *Step) {
	if st.Verdict != Balanced {
		return
	}
	e := &s.even
	if even := l.overs == 0 && l.unders == 0; even || e.uneven == 0 {
		e.uneven = v.Now
	}
	switch {
	case l.sum() == 0:
		st.is(Balanced, fmt.Sprintf("%d pods, and no load on any", len(v.Members)))
	case v.Overloaded != "":
		st.is(Overloaded, v.Overloaded+", and nothing can be moved: the other pods are overloaded, too, or this one has less than its share already")
	case p.Whole && l.mean*p.Floor < 1 && slices.Min(e.all) == 0:
		st.is(Unbalanceable, fmt.Sprintf("%s over %d pods: too few to even them out. With a headless Service and round_robin each client would use all pods",
			plural(int(math.Round(l.sum())), "connection", "connections"), len(v.Members)))
	case l.overs == 0 && l.unders == 0:
		e.trial = trial{}
		st.is(Balanced, fmt.Sprintf("%d pods, all inside the band: no connection needs to move", len(v.Members)))
	case v.Now-e.uneven < soonAfter:
		st.is(Moving, fmt.Sprintf("%d of %d pods are outside the band, this one has nothing to give", l.overs+l.unders, len(v.Members)))
	default:
		st.is(Unbalanceable, fmt.Sprintf("%d of %d pods have been outside the band for long, and this one has nothing to give: those with the most load say why",
			l.overs+l.unders, len(v.Members)))
	}
}

func (l *loads) sum() float64 { return l.mean * float64(l.known+1) }

func describe(l *loads, v *View, p *Policy) string {
	if v.Overloaded != "" {
		return v.Overloaded
	}
	if l.own > l.over {
		return fmt.Sprintf("this pod has more than %.4g times the mean", 1+p.Tolerance)
	}
	return fmt.Sprintf("%s less than %.4g of the mean", plural(l.unders, "pod has", "pods have"), p.Floor)
}

// begin chooses connections and asks for their keys.
func (s *State) begin(v *View, p *Policy, st *Step) {
	e := &s.even
	s.asks++
	e.give = e.trial.bound(e.give, p)
	if p.Whole {
		e.give = whole(e.give, v.Self, s.asks)
	}
	e.next = v.Now + e.interval(v, p)
	if e.give == 0 {
		st.wakeAt(e.next, v.Now)
		st.unlessMoving(Moving, describeRound(0))
		return
	}
	var why stuck
	e.chosen, why = e.candidates(v, p, s.asks)
	if len(e.chosen) == 0 && why.cooling > 0 {
		e.next = v.Now + lastsSoon
		st.wakeAt(e.next, v.Now)
		st.is(Waiting, why.text(p))
		return
	}
	if len(e.chosen) == 0 && why.heavy > 0 && e.give <= p.Tolerance*s.even.mean {
		e.next = v.Now + ReportFresh
		st.is(Balanced, "as near to the band as this pod's connections allow: the lightest carries more than what is too much")
		return
	}
	if len(e.chosen) == 0 {
		e.stuckFor(&why, v, p, st)
		return
	}
	e.ask = e.askWitnesses(s.asks, e.era.reached, v)
	st.Query = e.ask
	st.is(e.verdict(), describeRound(len(e.chosen)))
}

// interval is the least time between two rounds: until the clients are somewhere else, and
// the pods have told.
func (e *evener) interval(v *View, p *Policy) time.Duration {
	switch {
	case len(v.Members)-1 > PollAll:
		return landing + ReportFresh // so that no report from before counts
	case p.Whole:
		return landing + 2*time.Second
	}
	return weighing
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

func (e *evener) verdict() Verdict {
	if e.reason == reason.Overload {
		return Overloaded
	}
	return Moving
}

func describeRound(n int) string {
	if n == 0 {
		return "this pod's share of this round is none: looking again when the others' has landed"
	}
	return fmt.Sprintf("choosing among %d connections, asking other pods which of their clients are there, too", n)
}

// stuckFor books that what should move cannot. Another number of connections is no other
// cause, and no news.
func (e *evener) stuckFor(why *stuck, v *View, p *Policy, st *Step) {
	text, by := why.text(p), why.cause()
	if by != e.stuckBy {
		st.note("unbalanceable", 0, "%s", text)
	}
	e.stuckAt, e.stuckBy = text, by
	e.next = v.Now + ReportFresh
	st.wakeAt(e.next, v.Now)
	st.is(Unbalanceable, text)
}

// choose takes the answers and begins to move.
func (s *State) choose(v *View, p *Policy, st *Step) {
	e := &s.even
	if v.Counts == nil || v.Counts.Query != e.ask.ID {
		st.Query = e.ask
		st.is(e.verdict(), describeRound(len(e.chosen)))
		return
	}
	var why stuck
	e.queue, why = e.movable(v)
	e.ask, e.chosen = nil, nil
	if len(e.queue) == 0 {
		if why.silent > 0 {
			e.next = v.Now + askPause
			st.wakeAt(e.next, v.Now)
			st.is(e.verdict(), "no other pod told which of the clients chosen it has: asking again")
			return
		}
		e.stuckFor(&why, v, p, st)
		if why.spread > 0 {
			e.next = v.Now + landing // there may be others
		}
		return
	}
	e.stuckAt, e.stuckBy = "", notStuck
	e.total = len(e.queue)
	s.pace.start(v.Now, e.total, p)
	st.note("move", e.total, "%s", s.movingText())
	s.moveEven(v, p, st)
}

func (s *State) movingText() string {
	return fmt.Sprintf("asking %s to leave within %v", plural(s.even.total, "connection", "connections"),
		s.pace.length(s.even.total).Round(time.Millisecond))
}

// moveEven asks what is due now.
func (s *State) moveEven(v *View, p *Policy, st *Step) {
	e := &s.even
	n := s.pace.take(v, p, len(e.queue))
	why := "more load here than elsewhere"
	if e.reason == reason.Overload {
		why = "overload"
	}
	for _, id := range e.queue[:n] {
		st.Drains = append(st.Drains, Drain{ID: id, Reason: e.reason, Why: why})
	}
	e.queue = e.queue[n:]
	st.is(e.verdict(), s.movingText()+s.pace.why())
	e.trial.rounds += float64(n) / float64(e.total)
	if s.pace.exhausted {
		e.queue = nil // by the time that the budget has room, it will be others
	}
	if len(e.queue) > 0 {
		st.wakeAt(s.pace.wake(v), v.Now)
		return
	}
	e.fresh = v.Now + landing
	e.next = v.Now + e.interval(v, p)
	st.wakeAt(e.next, v.Now)
}
