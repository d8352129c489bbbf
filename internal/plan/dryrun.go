package plan

import (
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// A dry run decides each round once, in full, and then holds still. No drain follows, so there
// is nothing to wait for and nothing to learn from: it never calls a client pinned, unreached
// or futile.
//
//	reach        one decision for each growth, after DNS and the queries; it holds until the
//	             membership changes, and evenness waits with it
//	evenness     one decision for all that should move, without a first look; it holds until the
//	             membership changes, or this pod has had nothing to give for a while
//	evacuation   one decision, until the Service lists the pod again
//	age          stays in force, as it does with the kill switch
//
// What would be drained is an upper bound where some clients would rest first, or would find
// the new pods by themselves. Once the dry run is over, each growth counts again.

// Planned is a round that a dry run has decided.
type Planned struct {
	Reason reason.Reason
	Count  int
}

// plan records a decision of a dry run.
func (st *Step) plan(r reason.Reason, n int, why string) {
	st.Planned = append(st.Planned, Planned{r, n})
	st.note("planned", n, "%s", why)
}

// would is a sentence on what would be drained, and about how long that would take.
func would(n int, lasts time.Duration, why string) string {
	return fmt.Sprintf("dry run: this pod would drain %s within about %v: %s", plural(n, "connection", "connections"), lasts.Round(10*time.Millisecond), why)
}

// lasts is how long n GOAWAYs take if a round of them takes that long.
func (c *pacer) lasts(n int, round time.Duration, p *Policy) time.Duration {
	if share := p.MaxFractionPerMinute; share > 0 && share < 1 {
		return max(round, time.Duration(float64(n-1)/max(1, share*c.mean)*float64(time.Minute)))
	}
	return round
}

// holdDry stops the rounds under way when a dry run begins, and forgets its decisions when it
// ends.
func (s *State) holdDry(p *Policy) {
	if !p.DryRun {
		s.even.planned, s.evacuation.planned = 0, 0
		return
	}
	s.even.queue = nil
	if g := s.growth; g != nil && g.phase == moving {
		g.phase, g.queue = atGate, nil
	}
}

// planReach decides a round of reach.
func (s *State) planReach(v *View, p *Policy, st *Step) {
	g := s.growth
	g.phase, g.restUntil = planned, 0
	if n := g.total; n > 0 {
		g.plannedLasts = s.pace.lasts(n, reachLength(n, len(g.owners.pods), p), p)
		st.plan(reason.Reach, n, would(n, g.plannedLasts, g.describe()+", one for each channel"))
	}
	g.queue = nil
	s.whilePlanned(v, p, st)
}

// whilePlanned sets the verdict while a growth is decided.
func (s *State) whilePlanned(v *View, p *Policy, st *Step) {
	g := s.growth
	switch {
	case !p.DryRun:
		g.phase, s.hold = atGate, true
		st.wakeAt(v.Now, v.Now)
		st.is(Waiting, g.describe()+": the dry run has ended, and this pod checks DNS before it drains")
	case g.total == 0:
		st.is(Balanced, nothingToDrain(v))
	default:
		s.hold = true
		st.is(Waiting, would(g.total, g.plannedLasts, g.describe()+", one for each channel")+"; evenness waits for these")
	}
}

// planEven decides all that evenness would move.
func (s *State) planEven(v *View, p *Policy, st *Step) {
	e := &s.even
	n := len(e.queue)
	e.queue, e.planned = nil, n
	why := "it carries more load than others"
	if e.reason == reason.Overload {
		why = "it is overloaded"
	}
	// A first look, and then the rest.
	lasts := s.pace.lasts(n, roundLength(n, 1, p), p) + e.interval(v, p)
	e.plannedWhy = would(n, lasts, why)
	st.plan(e.reason, n, e.plannedWhy)
	st.is(Waiting, e.plannedWhy)
}

// planEvacuation decides to drain a pod that is out of the Service.
func (s *State) planEvacuation(v *View, p *Policy, st *Step) {
	x := &s.evacuation
	x.queue = nil
	n := len(leaving(v, p))
	text := would(n, s.pace.lasts(n, roundLength(n, 1, p), p), v.Out)
	if x.planned == 0 && n > 0 {
		x.planned = n
		st.plan(reason.Evacuation, n, text)
	}
	st.is(Waiting, text)
}
