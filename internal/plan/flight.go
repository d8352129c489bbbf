package plan

import "time"

// flights watches the drained connections with open streams, since the membership changed. It learns
// whether their streams end, and when their clients connect to another pod.
//
//	nothing was in flight for long   a round has landed after a second or so
//	slow: something was              the next round comes late, so each sets out to do all
//	end: and then it landed          what is in flight is sure to land
//	eager: the loads rose by it      clients connect elsewhere at once: it has landed
type flights struct {
	emptyAt time.Duration // when nothing was in flight last
	mean    float64       // the mean load then; 0: not known
	last    float64       // what was in flight as of the last plan
	most    float64       // and at most, since nearly all had landed
	fellAt  time.Duration // when it became less last; 0: not since then

	slow, end, eager bool
}

const (
	// slowFlight is how long a stream goes on beyond which a round comes late.
	slowFlight = ReportFresh
	// falling is the longest pause between the ends of streams that were drained together.
	falling = 5 * time.Second
	// stragglers is the part of them that no round waits for.
	stragglers = 0.1
)

// observe takes what is in flight from all pods, and the mean load with it.
func (f *flights) observe(flying, mean float64, v *View) {
	f.most = max(f.most, flying)
	f.slow = f.slow || flying > 0 && f.lasts(v)
	switch {
	case flying <= stragglers*f.most:
		f.end, f.fellAt, f.most = f.slow, 0, flying
	case flying < f.last:
		f.fellAt = v.Now
	}
	if flying == 0 {
		f.emptyAt, f.mean = v.Now, mean
	}
	f.last = flying
}

// lasts reports whether something has been in flight for long. Of other pods it is only known
// that there always was something, so what this pod has drained itself counts first.
func (f *flights) lasts(v *View) bool {
	if v.InFlight.Connections > 0 {
		return v.InFlight.Oldest >= slowFlight
	}
	return v.Now-f.emptyAt >= slowFlight
}

// reopened is how much of what is in flight has connected elsewhere already: the loads of all pods
// together are higher by as much.
func (f *flights) reopened(flying, mean, shares float64) float64 {
	if f.mean == 0 {
		return 0
	}
	n := min(max(0, (mean-f.mean)*shares), flying)
	f.eager = f.eager || flying >= enoughTries && n > flying/2
	return n
}

// landing reports whether the streams that a round waits for are just ending. What moves meanwhile
// would be chosen by loads that are about to change.
func (f *flights) landing(l *loads, now time.Duration) bool {
	return f.slow && l.flight > 0 && f.fellAt > 0 && now-f.fellAt < falling
}

// land takes off what of the flights is known to have landed. Where each pod sees a few others only,
// that does not show in the mean of these.
func (l *loads) land(f *flights, v *View) {
	shares := 0.0
	for i := range l.pods {
		shares += l.pods[i].share
	}
	mean := l.sum() / shares
	f.observe(l.flight, mean, v)
	if len(v.Members)-1 > PollAll {
		return
	}
	reopened := f.reopened(l.flight, mean, shares)
	l.slow, l.end = f.slow && !f.eager, f.end
	if f.end {
		l.flight -= reopened
	}
}
