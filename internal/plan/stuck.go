package plan

import (
	"fmt"
	"time"
)

// stuck counts why connections could not be chosen.
type stuck struct {
	pinned, cooling, multiHomed, heavy, silent, serving int

	rest time.Duration // the longest of those that cool down
}

// cause is what holds most of the connections back.
type cause uint8

const (
	notStuck cause = iota
	noLoad
	tooHeavy
	pinnedHere
	onAllPods
	noAnswer
	coolingDown
)

func (w *stuck) cause() cause {
	switch max(w.pinned, w.cooling, w.multiHomed, w.heavy, w.silent) {
	case 0:
		return noLoad
	case w.heavy:
		return tooHeavy
	case w.pinned:
		return pinnedHere
	case w.multiHomed:
		return onAllPods
	case w.silent:
		return noAnswer
	}
	return coolingDown
}

// text is a sentence that a person can act on.
func (w *stuck) text(p *Policy) string {
	switch w.cause() {
	case noLoad:
		return "this pod should give load away, but none of its connections carries any"
	case tooHeavy:
		return fmt.Sprintf("%d of %d connections carry more than this pod's excess: moving one would only overload another pod. "+
			"With a headless Service and round_robin each client would use all pods", w.heavy, w.serving)
	case pinnedHere:
		return fmt.Sprintf("%d of %d connections come back to this pod whenever they are drained: "+
			"the Service has sessionAffinity, or their clients know no other pod", w.pinned, w.serving)
	case onAllPods:
		return fmt.Sprintf("%d of %d connections belong to multi-homed clients (round_robin), of which other pods have as many connections: moving one would change nothing",
			w.multiHomed, w.serving)
	case noAnswer:
		return "no other pod answers this pod's queries about its clients, so it cannot choose connections to drain"
	}
	setting := " (rebalance.cooldown)"
	if w.rest < p.Cooldown {
		setting = ""
	}
	return fmt.Sprintf("%d of %d connections came back recently and are left alone for %v%s", w.cooling, w.serving, w.rest, setting)
}

// mayMove reports whether a connection may be drained, and counts why not.
func (w *stuck) mayMove(c *Conn, s *State, v *View, p *Policy) bool {
	w.serving++
	rest := restOf(c, len(v.Members), p)
	switch {
	case c.Returned && v.Now-c.Opened < rest:
		if Pinned(c.FutileDrains, len(v.Members)) {
			w.pinned++
		} else {
			w.cooling++
			w.rest = max(w.rest, rest)
		}
	case c.Weight > s.even.give:
		w.heavy++
	case !c.Single && len(s.clients.multiHomed) > 0 && s.clients.multiHomed[c.Key] > v.Now:
		w.multiHomed++
	default:
		return c.Weight > 0
	}
	return false
}

// stuckFor records that what should move cannot. The same cause with another number of
// connections is no news.
func (s *State) stuckFor(why *stuck, v *View, p *Policy, st *Step) {
	e := &s.even
	text, cause := why.text(p), why.cause()
	if p.DryRun && s.growth != nil && cause == onAllPods {
		e.stuck, e.stuckWhy, e.stuckCause = Waiting, fmt.Sprintf(
			"dry run: %d of %d connections belong to multi-homed clients, which their owners would drain for the new pods", why.multiHomed, why.serving), cause
		e.nextAt = v.Now + ReportFresh
		st.wakeAt(e.nextAt, v.Now)
		st.is(e.stuck, e.stuckWhy)
		return
	}
	if cause != e.stuckCause {
		st.note("unbalanceable", 0, "%s", text)
	}
	e.stuck, e.stuckWhy, e.stuckCause = Unbalanceable, text, cause
	e.nextAt = v.Now + ReportFresh
	st.wakeAt(e.nextAt, v.Now)
	st.is(Unbalanceable, text)
}
