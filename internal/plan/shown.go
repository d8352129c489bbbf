package plan

import "time"

// shown is the verdict that is shown. While nothing changes, a verdict stays until another
// has lasted for a while, longer after each change: each one is a line in the log, and an
// alert may hang on it.
type shown struct {
	verdict Verdict
	why     string
	changed time.Duration // when it changed
	next    Verdict       // what it would be, since nextAt
	nextAt  time.Duration
	flaps   int // changes at rest, less one for each hour
}

const (
	// shownLeast is how long another verdict must last before it is shown, at rest.
	shownLeast = time.Minute
	// shownMost is how long after several changes.
	shownMost = time.Hour
)

// settle replaces the verdict of st by the one that is to be shown.
func (h *shown) settle(now time.Duration, calm bool, st *Step) {
	if st.Verdict == h.verdict || !calm || h.verdict == "" || atOnce(st.Verdict) || atOnce(h.verdict) && h.verdict != Overloaded {
		h.show(now, calm, st)
		return
	}
	if st.Verdict != h.next {
		h.next, h.nextAt = st.Verdict, now
	}
	if now-h.nextAt >= min(shownLeast<<min(h.flaps, 6), shownMost) {
		h.show(now, calm, st)
		return
	}
	st.Verdict, st.Why = h.verdict, h.why
}

func (h *shown) show(now time.Duration, calm bool, st *Step) {
	if st.Verdict != h.verdict {
		if now-h.changed > shownMost {
			h.flaps = 0
		} else if calm {
			h.flaps++
		}
		h.changed = now
	}
	h.verdict, h.why, h.next = st.Verdict, st.Why, ""
}

// atOnce reports whether a verdict is shown at once: it says what a person has done, or must
// do something about, or that a check runs, whose end is news. It also ends at once, unless it
// comes from a signal that may flip.
func atOnce(v Verdict) bool {
	return v == Disabled || v == Stale || v == Draining || v == Overloaded || v == Checking
}
