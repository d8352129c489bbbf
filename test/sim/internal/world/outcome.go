package world

import (
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// Result holds the measurements of a run since Measure.
type Result struct {
	// Final describes the loads at the end, Worst the loads furthest outside the band.
	Final, Worst Distribution
	// Marks describe the loads at the times given to MarkAt.
	Marks []Distribution
	// EvenFrom is when the time to even begins, since Begin.
	EvenFrom time.Duration
	// Even is how long after EvenFrom the loads became even for good. It is negative if they
	// are not even at the end.
	Even time.Duration
	// FirstEven is how long after EvenFrom the loads first became even. It is negative if
	// they never did, or if they were even all the time.
	FirstEven time.Duration
	// GoAways are the GOAWAYs that rebalancing sent: reach, even and overload.
	GoAways []GoAway
	// Clients is the number of channels or connections in each group.
	Clients []int
	// Above is the longest time for which one pod had more than twice the mean.
	Above time.Duration
	// Verdicts are those of the pods that serve at the end.
	Verdicts []PodVerdict
	// Bytes is the traffic between pods, in bytes per second and pod.
	Bytes float64
	// PlanMean, PlanMost and Plan999 are the mean, the maximum and the 99.9th percentile of
	// the CPU time of plan.Next. They are 0 unless Config.Timed.
	PlanMean, PlanMost, Plan999 time.Duration
	// Plans is the number of calls that were timed.
	Plans int
	// MeanMax is the mean of max/mean over all samples.
	MeanMax float64
	// ZoneMax and ZoneMin are the largest max/mean and the smallest min/mean within a zone at
	// the end. They are 0 without zones.
	ZoneMax, ZoneMin float64
	// Lives is the number of clients that ended, and of those that took their places.
	Lives int
	// Pinned is the number of connections at the end that came back more often than chance
	// explains among the pods that their clients reach, so that planning takes them for pinned.
	Pinned int
	// Unlisted is the number of connections at the end on living pods that are not ready.
	Unlisted int
	// Arrivals is the largest number of connections that a pod accepted within a second.
	Arrivals int
	// Waiting is the number of draining connections at the end whose clients wait for the end
	// of a stream.
	Waiting int
	// Unreached is the number of round_robin channels at the end that lack a ready pod.
	Unreached int
	// VerdictChanges is how often an hour the verdict of a pod changes, for the pod where it
	// does so most often.
	VerdictChanges float64
	// Peak is the largest max/mean of all samples.
	Peak float64
	// Warmest is the largest load of a pod that warms up, over what it should carry at the time.
	Warmest float64
	// Twice is the number of clients that got more than one GOAWAY.
	Twice int
	// Gone is how long after Measure the pods that the Service no longer lists had no connection
	// left. It is negative if they have some.
	Gone time.Duration
	// OverLimit is the longest time that a pod was above Config.Limit, in all.
	OverLimit time.Duration
	// Outs are the verdicts of the pods that the Service no longer lists.
	Outs []PodVerdict
	// Series has every sample if Config.Series is set.
	Series []Moment
}

// Result returns the measurements until now.
func (w *World) Result() *Result {
	w.sample()
	m := &w.m
	r := &Result{
		Final: m.last, Worst: m.worst, GoAways: m.goaways, Above: m.longest, Even: -1, FirstEven: -1, EvenFrom: m.evenFrom,
		Plans: int(m.plans), PlanMost: m.planMost, Plan999: m.percentile(0.999), Series: m.series,
	}
	for _, k := range m.marks {
		r.Marks = append(r.Marks, k.then)
	}
	if w.cfg.Bound(&m.last) {
		r.Even = 0
		if m.outside >= m.evenFrom {
			r.Even = m.outside + w.cfg.Sample - m.evenFrom
		}
	}
	if m.first >= 0 {
		r.FirstEven = m.first - m.evenFrom
	}
	if m.plans > 0 {
		r.PlanMean = m.planTime / m.plans
	}
	for i := range w.cfg.Groups {
		r.Clients = append(r.Clients, w.cfg.Groups[i].Count)
	}
	alive := 0
	for _, p := range w.pods {
		r.OverLimit = max(r.OverLimit, p.overFor)
		if p.alive() && p.unlisted {
			r.Outs = append(r.Outs, w.verdictOf(p))
		}
		if !p.alive() || !p.ready {
			continue
		}
		alive++
		if w.plain(p) {
			continue
		}
		r.VerdictChanges = max(r.VerdictChanges, float64(p.judged)/(w.Now()-m.judged).Hours())
		r.Verdicts = append(r.Verdicts, w.verdictOf(p))
	}
	if took := w.Now() - m.from; took > 0 && alive > 0 {
		r.Bytes = m.bytesAll / took.Seconds() / float64(alive)
	}
	w.countShapes(r)
	return r
}

func (w *World) verdictOf(p *pod) PodVerdict {
	return PodVerdict{p.id, w.trueLoad(p), p.streams(), p.mostShare, p.verdict, p.why}
}

// From counts the GOAWAYs of the pods from number pod on.
func (r *Result) From(pod int) int {
	n := 0
	for i := range r.GoAways {
		if int(r.GoAways[i].Pod) >= pod {
			n++
		}
	}
	return n
}

// MostIn is the largest number of GOAWAYs within any span of length d.
func (r *Result) MostIn(d time.Duration) int {
	most, from := 0, 0
	for i := range r.GoAways {
		for r.GoAways[i].At-r.GoAways[from].At >= d {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// PerClient is the number of GOAWAYs per channel or connection of group g, or of all groups if
// g is negative.
func (r *Result) PerClient(g int) float64 {
	n, clients := 0, 0
	for i, c := range r.Clients {
		if g < 0 || i == g {
			clients += c
		}
	}
	for i := range r.GoAways {
		if g < 0 || int(r.GoAways[i].Group) == g {
			n++
		}
	}
	return float64(n) / float64(max(clients, 1))
}

// After counts the GOAWAYs at or after t since Begin.
func (r *Result) After(t time.Duration) int {
	i, _ := slices.BinarySearchFunc(r.GoAways, t, func(g GoAway, t time.Duration) int { return int(g.At - t) })
	return len(r.GoAways) - i
}

// countShapes counts what became of the clients.
func (w *World) countShapes(r *Result) {
	m := &w.m
	r.MeanMax = m.maxSum / float64(max(m.samples, 1))
	r.Peak, r.Warmest, r.Twice, r.Gone = m.peak, m.warmest, m.twice, -1
	if m.emptied >= 0 {
		r.Gone = m.emptied - m.from
	}
	r.Lives, r.Arrivals = w.lives-m.lives, m.arrivals
	r.ZoneMax, r.ZoneMin = w.zones()
	living := w.living()
	for _, p := range w.pods {
		r.Waiting += w.waiting(p)
		if p.unlisted && p.alive() {
			r.Unlisted += p.serving
		}
		for i := range p.infos {
			if plan.Pinned(p.infos[i].FutileDrains, living[w.group(p)]) {
				r.Pinned++
			}
		}
	}
	for i := range w.clients {
		if c := &w.clients[i]; w.cfg.Groups[c.group].Kind == RoundRobin && w.lacks(int32(i)) {
			r.Unreached++
		}
	}
}

// living is how many pods live in each group.
func (w *World) living() []int {
	all := make([]int, max(w.cfg.Zones, 1))
	for _, i := range w.Alive() {
		all[w.group(w.pods[i])]++
	}
	return all
}

// streams is the number of long streams on p's connections that are not draining.
func (p *pod) streams() int {
	n := 0
	for i := range p.infos {
		if !p.infos[i].Draining {
			n += p.infos[i].Streams
		}
	}
	return n
}

// lacks reports whether a channel has no connection to some ready pod, of those that it would
// choose today.
func (w *World) lacks(i int32) bool {
	addrs := w.channels[w.clients[i].channel]
	for _, p := range w.subset(i, w.readyPods()).pods {
		if a := find(addrs, p); !w.pods[p].dead && (a == nil || a.conn < 0) {
			return true
		}
	}
	return false
}

// zones returns the largest max/mean and the smallest min/mean within a zone.
func (w *World) zones() (most, least float64) {
	for zone := 1; zone <= w.cfg.Zones; zone++ {
		var loads []float64
		sum := 0.0
		for _, p := range w.pods {
			if p.ready && !p.dead && w.zoneOf(p.idx) == zone {
				loads = append(loads, w.trueLoad(p))
				sum += loads[len(loads)-1]
			}
		}
		if sum == 0 {
			continue
		}
		mean := sum / float64(len(loads))
		most = max(most, slices.Max(loads)/mean)
		if of := slices.Min(loads) / mean; zone == 1 || of < least {
			least = of
		}
	}
	return most, least
}
