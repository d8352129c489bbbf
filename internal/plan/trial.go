package plan

import (
	"fmt"
	"time"
)

// trial is whether rounds of evenness bring anything. What a GOAWAY really does is
// learnt, not assumed.
//
//	nine of ten came back here            pause
//	several rounds, as uneven as before   pause
//	less uneven                           begin anew
//
// Each pause is longer than the one before, until a round succeeds. After one, a few
// connections try it first.
type trial struct {
	began  bool
	base   Returns
	bad    float64 // how uneven it was at the beginning
	rounds float64 // since; one that ran out of budget counts in part
	level  int     // of the next pause
	until  time.Duration
	why    string
}

const (
	// enoughTries is how many GOAWAYs tell something.
	enoughTries = 8
	// futileShare came back.
	futileShare = 0.9
	// fairRounds is how many rounds may bring nothing by bad luck.
	fairRounds = 6
	// progress is what is left of the unevenness when a round has brought something.
	progress = 0.8
)

// pauses: the first is as long as a resolver may sit on an old answer.
var pauses = []time.Duration{resolverWait, 10 * time.Minute, 48 * time.Hour}

// futile reports whether a pause begins now.
func (t *trial) futile(l *loads, v *View) bool {
	bad := l.excess + l.lack
	asked := v.Returns.Drained - t.base.Drained
	returned := v.Returns.Returned - t.base.Returned
	switch {
	case t.began && asked >= enoughTries && float64(returned) >= futileShare*float64(asked):
		t.pause(v, fmt.Sprintf("%d of %d connections that were asked to leave came back to this pod", returned, asked),
			"the Service has sessionAffinity, or their clients know no other pod")
		return true
	case t.began && t.rounds >= fairRounds && bad > progress*t.bad:
		t.pause(v, fmt.Sprintf("%d connections were asked to leave, and the pods are as uneven as before", asked),
			"new connections do not land where they should: look at the Service's endpoints, its topology settings and the clients' targets")
		return true
	case !t.began || bad <= progress*t.bad:
		*t = trial{began: true, base: v.Returns, bad: bad, level: t.levelNow(asked, returned)}
	}
	return false
}

// levelNow: what did come elsewhere ends the row of pauses.
func (t *trial) levelNow(asked, returned uint64) int {
	if t.rounds > 0 && float64(returned) < futileShare*float64(asked) {
		return 0
	}
	return t.level
}

func (t *trial) pause(v *View, what, cause string) {
	d := pauses[min(t.level, len(pauses)-1)]
	*t = trial{
		level: t.level + 1, until: v.Now + d,
		why: fmt.Sprintf("%s: %s. It is tried again after %v", what, cause, d),
	}
}

// bound: after a pause a few connections try it first.
func (t *trial) bound(give float64, p *Policy) float64 {
	switch {
	case t.level == 0 || t.rounds > 0:
		return give
	case p.Whole:
		return min(give, enoughTries)
	}
	return give / 4
}
