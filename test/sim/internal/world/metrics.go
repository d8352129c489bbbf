package world

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

const (
	// bytesPerPoll is the size of a poll and its answer together. A test holds this and the
	// other sizes to what pods send.
	bytesPerPoll = 570
	// bytesPerQuery is the size of a query and its answer without any keys.
	bytesPerQuery = 360
	// bytesPerKey is the size that each key of a query adds, bytesPerKeyHeld what it adds to
	// the answer of a pod that has connections of it, and bytesPerKeySingle to that of one that
	// found its client to be single-homed.
	bytesPerKey       = 26
	bytesPerKeyHeld   = 30
	bytesPerKeySingle = 28
)

// Distribution describes the loads of the pods in the endpoints at one time.
type Distribution struct {
	At                time.Duration // since Begin
	Pods              int
	Mean, Most, Least float64
	// MaxOfMean and MinOfMean are loads in proportion to the pods' shares, over the mean of all
	// pods or, with zones, of the zone.
	MaxOfMean, MinOfMean float64
	// Outside is how far outside its band the worst pod is, and Young the worst of the pods that
	// are younger than 3 min. They are at most 1 if all are inside.
	Outside, Young float64
}

// OfBand is how far outside the band the worst pod is. It is at most 1 if all are inside.
func (s *Distribution) OfBand() float64 { return s.Outside }

func (s *Distribution) inBand() bool { return s.OfBand() <= 1+1e-9 }

// Below returns a Config.Bound that accepts a max/mean of at most limit.
func Below(limit float64) func(*Distribution) bool {
	return func(s *Distribution) bool { return s.MaxOfMean <= limit+1e-9 }
}

// GoAway is a GOAWAY that rebalancing sent. It is small, since a run may send a million.
type GoAway struct {
	At    time.Duration // since Begin
	Pod   int32
	Group int16
	Why   uint8 // index of Reasons
}

// Reasons are the reasons of GOAWAYs that rebalancing sends.
var Reasons = []reason.Reason{reason.Reach, reason.Even, reason.Overload, reason.Age}

// Moment is one sample of the loads, as plots need it.
type Moment struct {
	Distribution

	// Loads are the loads of all pods that ever existed, -1 for those that do not serve.
	Loads []float64
}

// PodVerdict is the verdict of a pod at the end of a run.
type PodVerdict struct {
	Pod     string
	Load    float64
	Streams int
	// MostShare is the largest part of all connections that it had, over its share of them.
	MostShare float64
	Verdict   plan.Verdict
	Why       string
}

type metrics struct {
	cfg     *Config
	goaways []GoAway
	from    time.Duration // when measuring began
	// evenFrom is when the time to even begins.
	evenFrom time.Duration

	last     Distribution
	marks    []mark
	outside  time.Duration           // the last uneven sample; -1: none
	first    time.Duration           // the first even sample after an uneven one; -1: none
	above    map[int32]time.Duration // since when a pod has had more than twice the mean
	longest  time.Duration           // the longest such stretch
	worst    Distribution            // the one furthest outside the band since from
	bytesAll float64

	plans, planTime, planMost time.Duration
	planHist                  [200]int

	accepted int     // connections since Begin
	arrivals int     // the most connections that a pod accepted within a second
	maxSum   float64 // of max/mean, over samples
	samples  int
	lives    int             // World.lives when measuring began
	warmest  float64         // the largest load of a pod that warms up, over what it should carry
	peak     float64         // the largest max/mean
	drained  map[int32]int32 // GOAWAYs by client
	twice    int             // clients that got a second one
	emptied  time.Duration   // since when no pod that is out has a connection; -1: one has
	judged   time.Duration   // since when changes of verdicts are counted

	series []Moment
}

type mark struct {
	at   time.Duration
	then Distribution
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
	m.bytesAll, m.worst = 0, Distribution{}
	m.maxSum, m.samples, m.arrivals = 0, 0, 0
	m.warmest, m.peak, m.twice, m.emptied, m.judged = 0, 0, 0, -1, now
	m.drained = map[int32]int32{}
	clear(m.above)
}

// Measure starts measuring and discards all earlier measurements.
func (w *World) Measure() {
	w.m.reset(w.Now())
	w.m.lives = w.lives
	for _, p := range w.pods {
		p.judged, p.overFor, p.mostShare = 0, 0, 0
	}
}

// JudgeFromNow counts changes of verdicts from now on only.
func (w *World) JudgeFromNow() {
	w.m.judged = w.Now()
	for _, p := range w.pods {
		p.judged = 0
	}
}

// EvenFrom makes times to even count from t since Begin instead of from Measure.
func (w *World) EvenFrom(t time.Duration) { w.m.evenFrom = t }

// MarkAt adds the Distribution at t since Begin to Result.Marks.
func (w *World) MarkAt(t time.Duration) { w.m.marks = append(w.m.marks, mark{at: t}) }

func (m *metrics) goAway(w *World, c *conn, why reason.Reason) {
	m.goaways = append(m.goaways, GoAway{w.Now(), c.pod, w.clients[c.client].group, uint8(slices.Index(Reasons, why))})
}

// Accepted returns how many connections all pods together have accepted since Begin.
func (w *World) Accepted() int { return w.m.accepted }

// arrived counts a connection that p accepts.
func (m *metrics) arrived(p *pod, now time.Duration) {
	if second := now.Truncate(time.Second); second != p.arrivedIn {
		p.arrivedIn, p.arrived = second, 0
	}
	p.arrived++
	m.accepted++
	m.arrivals = max(m.arrivals, p.arrived)
}

func (m *metrics) polled(p, q *pod) {
	m.count(p, bytesPerPoll)
	m.count(q, bytesPerPoll)
}

// queried counts a query of p to q, and the answer: the counts of some of the keys, and how
// many of them are single-homed. q is nil if it is no longer there.
func (m *metrics) queried(p, q *pod, keys int, counts map[string]int, singleHomed int) {
	held := 0
	for _, n := range counts {
		if n > 0 {
			held++
		}
	}
	n := float64(bytesPerQuery + bytesPerKey*keys + bytesPerKeyHeld*held + bytesPerKeySingle*singleHomed)
	m.count(p, n)
	if q != nil {
		m.count(q, n)
	}
}

func (m *metrics) count(p *pod, n float64) {
	p.bytes += n
	m.bytesAll += n
}

// clock is the clock for timing plan.Next. It stands still unless Config.Timed.
func (m *metrics) clock() time.Duration {
	if !m.cfg.Timed {
		return 0
	}
	return busyTime()
}

func (m *metrics) planTook(d time.Duration) {
	if d < 0 {
		return // the clock of another thread
	}
	m.plans++
	m.planTime += d
	m.planMost = max(m.planMost, d)
	m.planHist[bucket(d)]++
}

// bucket returns the histogram bucket of d: above 64 ns, eight buckets per power of two.
func bucket(d time.Duration) int {
	n := uint64(d) / 8
	if n < 16 {
		return int(n) / 2
	}
	size := bits.Len64(n)
	return min(8*(size-4)+int(n>>(size-4)), 199)
}

// upTo is the exclusive upper end of a bucket.
func upTo(bucket int) time.Duration {
	if bucket < 8 {
		return time.Duration(16 * (bucket + 1))
	}
	size, part := bucket/8-1, bucket%8+8
	return time.Duration(8*(part+1)) << size
}

// level is the load of some pods that the same clients reach, and what they should carry.
type level struct{ load, share float64 }

// of is what a pod of this share should carry.
func (l level) of(share float64) float64 { return share * l.load / l.share }

// distribution measures the loads of the pods in the endpoints.
func (w *World) distribution() Distribution {
	s := Distribution{At: w.Now(), Least: math.Inf(1), MinOfMean: math.Inf(1)}
	w.levels = w.levels[:0]
	for range max(w.cfg.Zones, 1) {
		w.levels = append(w.levels, level{})
	}
	for _, p := range w.pods {
		if !p.measured() {
			continue
		}
		p.load = w.trueLoad(p)
		s.Pods++
		s.Mean += p.load
		s.Most, s.Least = max(s.Most, p.load), min(s.Least, p.load)
		l := &w.levels[w.group(p)]
		l.load, l.share = l.load+p.load, l.share+w.share(p)
	}
	if s.Pods == 0 {
		return Distribution{At: w.Now()}
	}
	s.Mean /= float64(s.Pods)
	for _, p := range w.pods {
		if p.measured() {
			w.compare(&s, p)
		}
	}
	if s.Mean == 0 {
		s.MinOfMean = 0
	}
	return s
}

// measured reports whether the load of p counts.
func (p *pod) measured() bool { return p.ready && !p.dead && !p.unsteady }

// compare compares the load of p with what it should carry.
func (w *World) compare(s *Distribution, p *pod) {
	due := w.levels[w.group(p)].of(w.share(p))
	if due == 0 {
		return
	}
	s.MaxOfMean, s.MinOfMean = max(s.MaxOfMean, p.load/due), min(s.MinOfMean, p.load/due)
	over, under := Band(due, !w.cfg.Requests)
	if w.cfg.Zones > 0 { // the band of a zone is not rounded up
		over = max(due*1.1, math.Floor(due+1e-9)+1)
	}
	outside := max(p.load/over, under/max(p.load, 1e-9))
	s.Outside = max(s.Outside, outside)
	if p.begun > 0 && w.now-p.begun < 3*time.Minute {
		s.Young = max(s.Young, outside)
	}
	if warm := w.warm(p); warm < 1 {
		w.m.warmest = max(w.m.warmest, p.load/due)
	}
}

// Band returns the band around a mean: the range of load that is left alone. whole is set where
// the load is a number of connections.
func Band(mean float64, whole bool) (over, under float64) {
	over, under = mean*1.1, mean*0.7
	if whole {
		over = max(math.Ceil(over-1e-9), math.Floor(mean+1e-9)+1)
	}
	return over, under
}

// sample records the current loads.
func (w *World) sample() {
	m := &w.m
	s := w.distribution()
	m.last = s
	m.maxSum += s.MaxOfMean
	m.peak = max(m.peak, s.MaxOfMean)
	m.samples++
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
	w.trackPeaks(&s)
	w.trackPods()
	if w.cfg.Series {
		m.series = append(m.series, w.moment(&s))
	}
}

// trackPeaks records for how long each pod has had more than twice the mean.
func (w *World) trackPeaks(s *Distribution) {
	m := &w.m
	if s.Most <= 2*s.Mean {
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

func (w *World) moment(s *Distribution) Moment {
	one := Moment{Distribution: *s}
	for _, p := range w.pods {
		load := -1.0
		if !p.dead && (p.ready || p.stopping) {
			load = w.trueLoad(p)
		}
		one.Loads = append(one.Loads, load)
	}
	return one
}

// percentile returns the time within which the given part of all plans ended. The result is at
// most an eighth too large.
func (m *metrics) percentile(part float64) time.Duration {
	remaining := int(float64(m.plans) * part)
	for i, n := range m.planHist {
		if remaining -= n; remaining < 0 {
			return min(upTo(i), m.planMost)
		}
	}
	return m.planMost
}
