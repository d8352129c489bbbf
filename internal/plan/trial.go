package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// trial finds out whether rounds of evenness change anything. What a GOAWAY really does is
// learned, not assumed. The pods learn together: each sees all loads, and tells the others
// if connections do not land where they should.
//
//	the first round                                   small
//	nine of ten came back here, and not by chance     pause
//	most landed on a pod that is full already         pause
//	none landed where load is lacking                 pause
//	several rounds, as uneven as before               pause
//	less uneven                                       begin again
//
// Each pause is longer than the one before, until a round succeeds.
type trial struct {
	began  bool
	base   Returns
	uneven float64   // how much was outside the band at the beginning
	square float64   // and how uneven the pods were
	before []podLoad // their loads then, by pod
	mean   float64   // and their mean
	load   float64   // and that of this pod
	rounds float64   // since then; one that ran out of budget counts in part
	level  int       // of the next pause
	landed bool      // connections have landed elsewhere, and where they should
	looks  int       // small rounds so far
	misses bool      // it is paused because connections do not land where they should
	missed bool      // that is why it was paused last
	until  time.Duration
	why    string

	suspectAt time.Duration // when a pause was first considered; 0: it is not
}

const (
	// sureAfter is how long what looks futile must last: reports of different ages mislead.
	sureAfter = 2 * time.Second
	// enoughTries is how many GOAWAYs are enough to judge by.
	enoughTries = 8
	// futileShare is the share of returns from which on drains are futile.
	futileShare = 0.9
	// fairRounds is how many rounds may change nothing by bad luck.
	fairRounds = 6
	// progress is the share of the unevenness that may be left after a successful round.
	progress = 0.8
	// lookLeast and lookPart are the size of a first round: connections of all pods together,
	// and part of the mean load.
	lookLeast = 7.
	lookPart  = 0.05
)

// futile reports whether a pause begins now. If it may, but is not sure yet, the round waits.
func (t *trial) futile(l *loads, v *View, p *Policy) (pause, wait, progressed bool) {
	uneven := l.excess + l.deficit
	drained := float64(v.Returns.Drained - t.base.Drained)
	returned := float64(v.Returns.Returned - t.base.Returned)
	switch {
	case !t.began || t.rounds == 0 && t.looks == 0:
		t.begin(l, v)
		return false, false, false
	case drained >= enoughTries && returned >= futileShare*drained && returned <= drained && returned > byChance(drained, 1/float64(len(v.Members))) &&
		(!p.Whole || v.Load >= t.load-1-(1-futileShare)*drained): // of clients behind one address, others may have come
		t.pause(v, fmt.Sprintf("%.0f of %.0f drained connections came back to this pod", returned, drained),
			"the Service has sessionAffinity, or their clients know no other pod")
		return true, false, false
	}
	what, cause := t.misplaced(l, uneven, drained, returned, v, p)
	switch {
	case what == "":
		t.suspectAt = 0
		t.landed = t.landed || t.fills(l, v.Self)
	case t.suspectAt == 0:
		t.suspectAt = v.Now
		return false, true, false
	case v.Now < t.suspectAt+sureAfter:
		return false, true, false
	default:
		t.misses, t.missed = true, true
		t.pause(v, what, cause)
		return true, false, false
	}
	if progressed = uneven <= progress*t.uneven; progressed {
		if returned < futileShare*drained {
			t.level, t.missed = 0, false
		}
		t.begin(l, v)
	}
	return false, false, progressed
}

// misplaced says how connections do not land where they should; empty if they do.
func (t *trial) misplaced(l *loads, uneven, drained, returned float64, v *View, p *Policy) (what, cause string) {
	if uneven <= progress*t.uneven {
		return "", ""
	}
	part := 1 / float64(len(v.Members))
	if gains, moved := t.gains(l, v.Self); p.Whole { // other loads change by themselves
		if pod := t.crowds(gains, moved, part); pod != "" {
			return fmt.Sprintf("most of about %.0f connections landed on %s, which has enough", moved, pod),
				"clients take the first address of an answer whose order never changes, or a balancer prefers that pod"
		}
		landed := drained - returned - float64(v.InFlight.Connections)
		moved = max(moved, landed*float64(l.givers()))
		if t.starves(gains, moved, part) {
			return fmt.Sprintf("of about %.0f connections none landed on the pods that lack load", moved),
				"check the Service's endpoints, its topology settings and the clients' targets"
		}
	}
	if l.warming { // what is right grows meanwhile
		return "", ""
	}
	rose := len(v.Members) <= PollAll && t.rounds >= 1 && drained >= enoughTries/2 && l.square > 1.5*t.square+9*max(1, l.mean) && uneven > t.uneven
	if rose || t.rounds >= fairRounds && (drained >= 2*enoughTries || !p.Whole) {
		return fmt.Sprintf("this pod drained %s, but the pods are as uneven as before", plural(int(drained), "connection", "connections")),
			"check the Service's endpoints, its topology settings and the clients' targets"
	}
	return "", ""
}

// begin compares later rounds with the loads of now.
func (t *trial) begin(l *loads, v *View) {
	t.before = append(t.before[:0], l.pods...)
	slices.SortFunc(t.before, func(a, b podLoad) int { return strings.Compare(a.pod, b.pod) })
	*t = trial{
		began: true, base: v.Returns, uneven: l.excess + l.deficit, square: l.square, before: t.before, mean: l.mean, load: v.Load,
		level: t.level, landed: t.landed, looks: t.looks, missed: t.missed,
	}
}

// gain is how much load a pod has gained since the beginning.
type gain struct {
	pod   *podLoad // as it was then
	added float64
}

// gains returns what each pod has gained, and how much at least has landed. What pods lost is
// no measure: it shows before it lands.
func (t *trial) gains(l *loads, self string) (gains []gain, moved float64) {
	for i := range l.pods {
		at, known := slices.BinarySearchFunc(t.before, l.pods[i].pod, func(d podLoad, pod string) int { return strings.Compare(d.pod, pod) })
		if !known || !l.pods[i].renewed || l.pods[i].pod == self { // its own load is newer than the reports
			continue
		}
		added := l.pods[i].load - t.before[at].load
		moved += max(0, added)
		gains = append(gains, gain{&t.before[at], added})
	}
	return gains, moved
}

// crowds returns the pod on which connections land although it has enough.
func (t *trial) crowds(gains []gain, moved, part float64) string {
	for _, g := range gains {
		if g.pod.load >= t.mean*g.pod.share && g.added >= 3 && g.added > byChance(moved, part) && g.added > moved/2 {
			return g.pod.pod
		}
	}
	return ""
}

// lacking returns how many pods had less than half of their part, and what they gained.
func (t *trial) lacking(gains []gain) (pods, added float64) {
	for _, g := range gains {
		if g.pod.load < t.mean*g.pod.share/2 {
			pods++
			added += g.added
		}
	}
	return pods, added
}

// fills reports whether a pod that lacked load has gained a connection.
func (t *trial) fills(l *loads, self string) bool {
	gains, moved := t.gains(l, self)
	pods, added := t.lacking(gains)
	return added >= 1 || pods == 0 && moved >= 1
}

// starves reports whether the pods that lack load gained nothing, and not by chance.
func (t *trial) starves(gains []gain, moved, part float64) bool {
	pods, added := t.lacking(gains)
	if pods == 0 || pods == float64(len(gains)) {
		return false
	}
	surely := 50 * unlikely
	if t.missed { // they gained nothing before
		surely = 0.5
	}
	return added < moved*pods*part/8 && math.Pow(1-pods*part, moved) < surely
}

func (t *trial) pause(v *View, what, cause string) {
	d := pauses[min(t.level, len(pauses)-1)]
	t.rounds, t.looks, t.landed, t.suspectAt, t.until = 0, 0, false, 0, v.Now+d
	t.level++
	t.why = fmt.Sprintf("%s: %s. This pod tries again after %v", what, cause, d)
}

// bound makes rounds small until connections have landed elsewhere, and always while the
// membership is at rest. Each is twice as large as the one before.
//
// Of many pods each sees a few only, and rounds are far apart: they begin at full size.
func (t *trial) bound(give float64, l *loads, members int, calm bool) float64 {
	if (t.landed || members > PollAll) && !calm {
		return give
	}
	look := max(lookLeast, lookPart*l.mean) * math.Pow(2, float64(t.looks))
	t.looks++
	return give * min(1, look/max(l.total, look))
}
