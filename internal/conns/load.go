package conns

import (
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

// Loads are sums over the connections that are load: not draining, and with a stream that is
// no health check, now or before.
type Loads struct {
	// Connections is their number, now.
	Connections int
	// Requests is the number of streams that they open per second, Streams the number in
	// flight. Both are smoothed and as of the last Sample, without the connections that
	// were closed or drained since.
	Requests, Streams float64
	// Weight is the sum of Info.Weight.
	Weight float64
}

// Loads returns the sums without visiting the connections.
func (r *Registry) Loads() Loads {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.carrying == 0 {
		r.sums = sums{} // without the remainders of rounding
	}
	s := &r.sums
	return Loads{Connections: r.carrying, Requests: s.requests.value(), Streams: s.streams.value(), Weight: s.weight.value()}
}

// load is one connection's part of Loads.
type load struct {
	at       time.Duration // of the last Sample
	requests float64
	streams  float64
	weight   float64
}

// sums are sums of loads.
type sums struct{ requests, streams, weight sum }

// add adds n times l.
func (s *sums) add(l *load, n float64) {
	s.requests.add(n * l.requests)
	s.streams.add(n * l.streams)
	s.weight.add(n * l.weight)
}

// sum is a sum from which parts can be taken off again, for years. It keeps what rounding
// loses apart (Neumaier's summation). One huge part that is gone does not blur the others.
type sum struct{ high, low float64 }

func (s *sum) add(x float64) {
	high := s.high + x
	if math.Abs(s.high) >= math.Abs(x) {
		s.low += (s.high - high) + x
	} else {
		s.low += (x - high) + s.high
	}
	s.high = high
}

func (s *sum) value() float64 { return max(0, s.high+s.low) }

const (
	requestsOver = 30 * time.Second // time constant of the request rate
	streamsOver  = 10 * time.Second // time constant of the streams in flight
	// youngest is the least age by which a rate is computed: the first few streams within
	// a millisecond are not thousands per second.
	youngest = time.Second
	// sampleBatch is the number of connections that are sampled under one lock.
	sampleBatch = 128
	// maxWeight keeps the sum of all weights finite.
	maxWeight = 1e100
)

// weighed is a connection between the two halves of its Sample.
type weighed struct {
	conn *Conn
	info Info
}

// Sample updates Loads; call it about once a second. The request rate and the streams in
// flight of a connection are averages over its life, in which the past decays with a time
// constant of 30 s and of 10 s.
//
// weigh then returns the weight of each connection that its client uses; nil weighs every connection as 1. A
// weight that is negative, not a number, infinite or beyond 1e100 counts as 0. weigh is
// called without locks and may use the registry. A connection that is added during Sample
// may be left to the next one.
func (r *Registry) Sample(weigh func(*Info) float64) {
	now, streams := r.Now(), 0
	batch := make([]weighed, 0, sampleBatch)
	// The loop runs backwards. The last connection takes the place of one that is closed,
	// so a connection that changes place has been sampled already.
	for below := math.MaxInt; below > 0; {
		batch, below = r.sampleBatch(batch[:0], below, now)
		for i := range batch {
			streams += batch[i].info.Streams
			if batch[i].info.Use == h2conn.InUse {
				batch[i].info.Weight = weightBy(weigh, &batch[i].info)
			}
		}
		r.setWeights(batch)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams = streams
}

// sampleBatch samples the connections just below an index of the list, and returns the
// lowest index that it reached.
func (r *Registry) sampleBatch(batch []weighed, below int, now time.Duration) ([]weighed, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	below = min(below, len(r.list))
	for ; below > 0 && len(batch) < cap(batch); below-- {
		c := r.list[below-1]
		batch = append(batch, weighed{conn: c})
		i := &batch[len(batch)-1].info
		c.sampleLocked(now)
		c.infoLocked(i)
	}
	return batch, below
}

// sampleLocked updates the averages.
func (c *Conn) sampleLocked(now time.Duration) {
	open, opened := c.h2.Streams()
	next := c.load
	if !c.sampled {
		age := max(now-c.opened, youngest)
		next.requests, next.streams = float64(opened)/age.Seconds(), float64(open)
	} else if d := now - c.load.at; d > 0 {
		age := now - c.opened
		rate := float64(uint32(opened)-c.sampledStreams) / d.Seconds()
		next.requests += part(d, age, requestsOver) * (rate - next.requests)
		next.streams += part(d, age, streamsOver) * (float64(open) - next.streams)
	} else {
		return
	}
	c.sampled, next.at, c.sampledStreams = true, now, uint32(opened)
	c.setLoadLocked(&next)
}

// part returns the share of the latest d in an average over the whole age, in which a
// moment t ago counts exp(-t/over).
func part(d, age, over time.Duration) float64 {
	whole := 1.0
	if age < 40*over { // beyond that, a float64 cannot differ from 1
		whole = -math.Expm1(-age.Seconds() / over.Seconds())
	}
	return -math.Expm1(-d.Seconds()/over.Seconds()) / whole
}

func (c *Conn) setLoadLocked(l *load) {
	if c.isLoad() {
		c.reg.sums.add(&c.load, -1)
		c.reg.sums.add(l, 1)
	}
	c.load = *l
}

func weightBy(weigh func(*Info) float64, i *Info) float64 {
	if weigh == nil {
		return 1
	}
	w := weigh(i)
	if w >= 0 && w <= maxWeight {
		return w
	}
	return 0
}

func (r *Registry) setWeights(batch []weighed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range batch {
		c := batch[i].conn
		if c.pos < 0 || batch[i].info.Use != h2conn.InUse {
			continue
		}
		l := c.load
		l.weight = batch[i].info.Weight
		c.setLoadLocked(&l)
	}
}
