package world

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// bytesPerPoll is what a question for totals and its answer weigh together, and
// bytesPerKey what a key adds to both.
const (
	bytesPerPoll = 450
	bytesPerKey  = 80
)

// Spread is how the loads of the pods in the endpoints lie at one moment.
type Spread struct {
	At                   time.Duration // since Begin
	Pods                 int
	Mean, Most, Least    float64
	Over, Under          float64 // the band
	MaxOfMean, MinOfMean float64
}

// OfBand is at most 1 inside the band: how far the worst pod is outside.
func (s *Spread) OfBand() float64 {
	worst := 0.0
	if s.Over > 0 {
		worst = s.Most / s.Over
	}
	if s.Under > 0 {
		worst = max(worst, s.Under/max(s.Least, 1e-9))
	}
	return worst
}

func (s *Spread) inBand() bool { return s.OfBand() <= 1+1e-9 }

// Below returns a bound on the maximum as a part of the mean.
func Below(limit float64) func(*Spread) bool {
	return func(s *Spread) bool { return s.MaxOfMean <= limit+1e-9 }
}

// GoAway is one that a pod sent. There may be a million.
type GoAway struct {
	At    time.Duration // since Begin
	Group int16
	Why   uint8 // index of Reasons
}

// Reasons are those of rebalancing.
var Reasons = []reason.Reason{reason.Reach, reason.Even, reason.Overload, reason.Age}

// Moment is one sample, of which plots are made: the loads of all pods there ever were,
// -1 for those that do not serve.
type Moment struct {
	Spread
	Loads []float64
}

// PodVerdict is what a pod says at the end.
type PodVerdict struct {
	Pod     string
	Load    float64
	Verdict plan.Verdict
	Why     string
}

type metrics struct {
	cfg     *Config
	goaways []GoAway
	from    time.Duration // measured since then
	// evenFrom is since when the time to even counts.
	evenFrom time.Duration

	last     Spread
	marks    []mark
	outside  time.Duration // the last sample that was not even; -1: none
	first    time.Duration // the first that was, after one that was not; -1: none
	above    map[int32]time.Duration
	longest  time.Duration
	worst    Spread // the worst of band since from
	bytesAll float64

	plans, planTime, planMost time.Duration
	planHist                  [200]int

	series []Moment
}

type mark struct {
	at   time.Duration
	then Spread
	done bool
}

func (m *metrics) init(w *World) {
	m.cfg = &w.cfg
	m.above = map[int32]time.Duration{}
	m.reset(0)
}

func (m *metrics) reset(now time.Duration) {
	m.from, m.evenFrom, m.outside, m.first = now, now, -1, -1
	m.goaways, m.longest = m.goaways[:0], 0
	m.bytesAll, m.worst = 0, Spread{}
	clear(m.above)
}

// Measure begins to measure now: what was before is forgotten.
func (w *World) Measure() { w.m.reset(w.Now()) }

// EvenFrom lets times to even count from t since Begin, not from Measure.
func (w *World) EvenFrom(t time.Duration) { w.m.evenFrom = t }

// MarkAt keeps the Spread at t since Begin for Result.Marks.
func (w *World) MarkAt(t time.Duration) { w.m.marks = append(w.m.marks, mark{at: t}) }

func (m *metrics) goAway(w *World, c *conn, why reason.Reason) {
	m.goaways = append(m.goaways, GoAway{w.Now(), w.clients[c.client].group, uint8(slices.Index(Reasons, why))})
}

func (m *metrics) polled(p, q *pod) {
	m.count(p, bytesPerPoll)
	m.count(q, bytesPerPoll)
}

func (m *metrics) asked(p, q *pod, keys int) {
	m.count(p, bytesPerPoll+bytesPerKey*float64(keys))
	if q != nil {
		m.count(q, bytesPerPoll+bytesPerKey*float64(keys))
	}
}

func (m *metrics) count(p *pod, n float64) {
	p.bytes += n
	m.bytesAll += n
}

// clock is that by which plan.Next is timed.
func (m *metrics) clock() time.Duration {
	if !m.cfg.Timed {
		return 0
	}
	return busyTime()
}

func (m *metrics) planTook(d time.Duration) {
	if d < 0 {
		return // another thread's clock
	}
	m.plans++
	m.planTime += d
	m.planMost = max(m.planMost, d)
	m.planHist[bucket(d)]++
}

// bucket sorts times by size: eight to each power of two above 64 ns.
func bucket(d time.Duration) int {
	n := uint64(d) / 8
	if n < 16 {
		return int(n) / 2
	}
	size := bits.Len64(n)
	return min(8*(size-4)+int(n>>(size-4)), 199)
}

// upTo is the end of a bucket.
func upTo(bucket int) time.Duration {
	if bucket < 8 {
		return time.Duration(16 * (bucket + 1))
	}
	size, part := bucket/8-1, bucket%8+8
	return time.Duration(8*(part+1)) << size
}

// spread looks at the pods in the endpoints.
func (w *World) spread() Spread {
	s := Spread{At: w.Now(), Least: math.Inf(1)}
	for _, p := range w.pods {
		if !p.ready || p.dead {
			continue
		}
		load := w.trueLoad(p)
		s.Pods++
		s.Mean += load
		s.Most, s.Least = max(s.Most, load), min(s.Least, load)
	}
	if s.Pods == 0 {
		return Spread{At: w.Now()}
	}
	s.Mean /= float64(s.Pods)
	s.Over, s.Under = Band(s.Mean, !w.cfg.Requests)
	if s.Mean > 0 {
		s.MaxOfMean, s.MinOfMean = s.Most/s.Mean, s.Least/s.Mean
	}
	return s
}

// Band is what the design calls even for a mean: whole for connections.
func Band(mean float64, whole bool) (over, under float64) {
	over, under = mean*1.1, mean*0.7
	if whole {
		over = max(math.Ceil(over-1e-9), math.Floor(mean+1e-9)+1)
	}
	return over, under
}

// sample books the loads of now.
func (w *World) sample() {
	m := &w.m
	s := w.spread()
	m.last = s
	if !w.cfg.Bound(&s) {
		m.outside = s.At
	} else if m.first < 0 && s.At >= m.evenFrom && m.outside >= 0 {
		m.first = s.At
	}
	if s.OfBand() > m.worst.OfBand() {
		m.worst = s
	}
	for i := range m.marks {
		if k := &m.marks[i]; !k.done && s.At >= k.at {
			k.then, k.done = s, true
		}
	}
	w.stretches(&s)
	if w.cfg.Series {
		m.series = append(m.series, w.moment(&s))
	}
}

// stretches books for how long a pod has had more than twice the mean.
func (w *World) stretches(s *Spread) {
	m := &w.m
	if s.MaxOfMean <= 2 {
		clear(m.above)
		return
	}
	for _, p := range w.pods {
		if !p.ready || p.dead || w.trueLoad(p) <= 2*s.Mean {
			delete(m.above, p.idx)
			continue
		}
		since, ok := m.above[p.idx]
		if !ok {
			since = s.At
			m.above[p.idx] = since
		}
		m.longest = max(m.longest, s.At-since+w.cfg.Sample)
	}
}

func (w *World) moment(s *Spread) Moment {
	one := Moment{Spread: *s}
	for _, p := range w.pods {
		load := -1.0
		if !p.dead && (p.ready || p.stopping) {
			load = w.trueLoad(p)
		}
		one.Loads = append(one.Loads, load)
	}
	return one
}

// Result is what came of a run since Measure.
type Result struct {
	// Final is how the loads lie at the end, Marks at the moments asked for, Worst when
	// they were worst.
	Final, Worst Spread
	Marks        []Spread
	// Even is how long after EvenFrom, a time since Begin, the loads were even and stayed so; negative: they
	// are not. FirstEven is when they were so at first after they had not been; negative:
	// never, or they always were.
	Even, FirstEven, EvenFrom time.Duration
	// GoAways are those that rebalancing sent: reach, even and overload.
	GoAways []GoAway
	// Clients is how many channels and connections there are, by group.
	Clients []int
	// Above is the longest stretch of time for which a pod had more than twice the mean.
	Above time.Duration
	// Verdicts are those of the pods that serve at the end.
	Verdicts []PodVerdict
	// Bytes is what pods sent each other per second, on average for each.
	Bytes float64
	// PlanMean, PlanMost and Plan999 are how much processor time plan.Next took: on
	// average, at most, and at most in all but one of a thousand calls. Plans is how many.
	// They are 0 unless Config.Timed.
	PlanMean, PlanMost, Plan999 time.Duration
	Plans                       int
	// Series are the loads of each sample, if asked for.
	Series []Moment
}

// Result returns what came of it until now.
func (w *World) Result() *Result {
	w.sample()
	m := &w.m
	r := &Result{
		Final: m.last, Worst: m.worst, GoAways: m.goaways, Above: m.longest, Even: -1, FirstEven: -1, EvenFrom: m.evenFrom,
		Plans: int(m.plans), PlanMost: m.planMost, Plan999: m.slow(0.999), Series: m.series,
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
		if !p.alive() || !p.ready {
			continue
		}
		alive++
		r.Verdicts = append(r.Verdicts, PodVerdict{p.id, w.trueLoad(p), p.verdict, p.why})
	}
	if took := w.Now() - m.from; took > 0 && alive > 0 {
		r.Bytes = m.bytesAll / took.Seconds() / float64(alive)
	}
	return r
}

// slow is an upper bound, by an eighth at most, of the time that the given part of all plans
// took.
func (m *metrics) slow(part float64) time.Duration {
	left := int(float64(m.plans) * part)
	for i, n := range m.planHist {
		if left -= n; left < 0 {
			return min(upTo(i), m.planMost)
		}
	}
	return m.planMost
}

// MostIn is the most GOAWAYs within any stretch of time of the given length.
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

// PerClient is the GOAWAYs per channel or connection of group g; of all if g is negative.
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

// After counts the GOAWAYs from t since Begin on.
func (r *Result) After(t time.Duration) int {
	i, _ := slices.BinarySearchFunc(r.GoAways, t, func(g GoAway, t time.Duration) int { return int(g.At - t) })
	return len(r.GoAways) - i
}
