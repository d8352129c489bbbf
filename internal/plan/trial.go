package plan

import (
	"fmt"
	"time"
)

// trial finds out whether rounds of evenness change anything. What a GOAWAY really does is
// learned, not assumed.
//
//	nine of ten came back here            pause
//	several rounds, as uneven as before   pause
//	less uneven                           begin again
//
// Each pause is longer than the one before, until a round succeeds. After a pause, a few
// connections are tried first.
type trial struct {
	began      bool
	base       Returns
	unevenness float64 // at the beginning
	rounds     float64 // since then; one that ran out of budget counts in part
	level      int     // of the next pause
	until      time.Duration
	why        string
}

const (
	// enoughTries is how many GOAWAYs are enough to judge by.
	enoughTries = 8
	// futileShare is the share of returns from which on drains are futile.
	futileShare = 0.9
	// fairRounds is how many rounds may change nothing by bad luck.
	fairRounds = 6
	// progress is the share of the unevenness that may be left after a successful round.
	progress = 0.8
)

// pauses has the length of each pause. The first is as long as a resolver may keep an old
// answer.
var pauses = []time.Duration{resolverWait, 10 * time.Minute, 48 * time.Hour}

// futile reports whether a pause begins now.
func (t *trial) futile(l *loads, v *View) bool {
	unevenness := l.excess + l.deficit
	drained := v.Returns.Drained - t.base.Drained
	returned := v.Returns.Returned - t.base.Returned
	switch {
	case t.began && drained >= enoughTries && float64(returned) >= futileShare*float64(drained):
		t.pause(v, fmt.Sprintf("%d of %d drained connections came back to this pod", returned, drained),
			"the Service has sessionAffinity, or their clients know no other pod")
		return true
	case t.began && t.rounds >= fairRounds && unevenness > progress*t.unevenness:
		t.pause(v, fmt.Sprintf("this pod drained %d connections, but the pods are as uneven as before", drained),
			"check the Service's endpoints, its topology settings and the clients' targets")
		return true
	case !t.began || unevenness <= progress*t.unevenness:
		*t = trial{began: true, base: v.Returns, unevenness: unevenness, level: t.levelNow(drained, returned)}
	}
	return false
}

// levelNow returns to the first level if drained clients did go elsewhere.
func (t *trial) levelNow(drained, returned uint64) int {
	if t.rounds > 0 && float64(returned) < futileShare*float64(drained) {
		return 0
	}
	return t.level
}

func (t *trial) pause(v *View, what, cause string) {
	d := pauses[min(t.level, len(pauses)-1)]
	*t = trial{
		level: t.level + 1, until: v.Now + d,
		why: fmt.Sprintf("%s: %s. This pod tries again after %v", what, cause, d),
	}
}

// bound lets a few connections try first after a pause.
func (t *trial) bound(give float64, p *Policy) float64 {
	switch {
	case t.level == 0 || t.rounds > 0:
		return give
	case p.Whole:
		return min(give, enoughTries)
	}
	return give / 4
}
