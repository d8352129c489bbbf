package conns

import (
	"math"

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
		r.sums, r.recount = sums{}, sums{} // without the remainders of rounding
	}
	return r.sums.loads(r.carrying)
}

// load is one connection's part of Loads.
type load struct {
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

// loads returns the sums over n connections.
func (s *sums) loads(n int) Loads {
	return Loads{Connections: n, Requests: s.requests.value(), Streams: s.streams.value(), Weight: s.weight.value()}
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

// addLoadLocked adds n times l, a load of c, to the sums. The recount has the connections that
// the tour has visited.
func (c *Conn) addLoadLocked(l *load, n float64) {
	r := c.reg
	r.sums.add(l, n)
	if r.all.visited(c) {
		r.recount.add(l, n)
	}
}

// setLoadLocked changes the load of c, and the sums that it is part of.
func (c *Conn) setLoadLocked(l load) {
	switch {
	case l == c.load:
		return
	case c.isLoad():
		c.addLoadLocked(&c.load, -1)
		c.addLoadLocked(&l, 1)
	case c.flies():
		c.reg.flight.sums.add(&c.load, -1)
		c.reg.flight.sums.add(&l, 1)
	}
	c.load = l
}

// maxWeight keeps the sum of all weights finite.
const maxWeight = 1e100

func weightBy(weigh func(*Info) float64, i *Info) float64 {
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
		c.setLoadLocked(l)
	}
}
