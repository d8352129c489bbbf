package conns

import (
	"math"
	"time"
)

// Loads are sums over the connections that are not draining.
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
	n := len(r.list) - r.draining
	if n == 0 {
		return Loads{} // without the remainders of rounding
	}
	s := &r.sums
	return Loads{Connections: n, Requests: max(0, s.requests), Streams: max(0, s.streams), Weight: max(0, s.weight)}
}

// load is one connection's part of Loads, or a sum of such parts.
type load struct {
	at       time.Duration // of the last Sample
	opened   uint64        // streams ever opened by then
	requests float64
	streams  float64
	weight   float64
}

// add adds n times l.
func (s *load) add(l *load, n float64) {
	s.requests += n * l.requests
	s.streams += n * l.streams
	s.weight += n * l.weight
}

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
// weigh then returns the weight of each connection; nil weighs every connection as 1. A
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
			batch[i].info.Weight = weightBy(weigh, &batch[i].info)
		}
		r.setWeights(batch)
	}
	r.sumUp(streams)
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
		rate := float64(opened-c.load.opened) / d.Seconds()
		next.requests += part(d, age, requestsOver) * (rate - next.requests)
		next.streams += part(d, age, streamsOver) * (float64(open) - next.streams)
	} else {
		return
	}
	c.sampled, next.at, next.opened = true, now, opened
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
	if c.drain == nil {
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
		if c.pos < 0 {
			continue
		}
		l := c.load
		l.weight = batch[i].info.Weight
		c.setLoadLocked(&l)
	}
}

// sumUp computes the sums from scratch. Otherwise rounding errors would add up over the
// years, and one huge weight that is gone would blur the others.
func (r *Registry) sumUp(streams int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sums, r.streams = load{}, streams
	for _, c := range r.list {
		if c.drain == nil {
			r.sums.add(&c.load, 1)
		}
	}
}
