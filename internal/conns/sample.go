package conns

import (
	"math"
	"runtime"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

const (
	requestsOver = 30 * time.Second // time constant of the request rate
	streamsOver  = requestsOver / 3 // time constant of the streams in flight
	// youngest is the least age by which a rate is computed: the first few streams within
	// a millisecond are not thousands per second.
	youngest = time.Second
	// oldEnough is the age from which on a float64 cannot tell an average over the whole life
	// of a connection from one without a beginning.
	oldEnough = 40 * requestsOver
	// negligible is how close to its final value an average is taken for it. One call a second
	// is forgotten after seven minutes.
	negligible = 1e-6
	// sampleBatch is the number of connections that are sampled under one lock.
	sampleBatch = 128
	// samplePause is how long the RPCs come first after each pauseEvery connections. On one
	// processor they would wait for the sampling of 100,000 connections for 40 ms.
	samplePause = time.Millisecond
	pauseEvery  = 8 * sampleBatch
	// weighedWithin is the number of Samples within which each connection is weighed, and
	// weighedAtOnce the number of connections up to which one Sample weighs all of them.
	weighedWithin = 10
	weighedAtOnce = 1024
	// recountedWithin is the number of Samples within which the sums are summed up again.
	recountedWithin = 3600
)

// Sample updates Loads and Flight; call it about once a second, from one goroutine. The request
// rate and the streams in flight of a connection are averages over its life, in which the past
// decays with a time constant of 30 s and of 10 s.
//
// Sample visits the connections on which streams have opened or ended, until their averages
// have settled again. The others cost nothing. It pauses after each thousand of them.
//
// weigh then returns the weight of each connection that it visits and that its client uses; nil
// leaves all weights at 1. A weight that is negative, not a number, infinite or beyond 1e100
// counts as 0. Since a weight may change without any news, the others are weighed in turns, each
// within ten calls. weigh is called without locks and may use the registry. A connection that is
// added during Sample may be left to the next one.
func (r *Registry) Sample(weigh func(*Info) float64) {
	b := batches{weigh: weigh}
	if weigh != nil {
		b.room = make([]weighed, 0, sampleBatch)
	}
	s := r.beginSample()
	for more := true; more; b.done() {
		more = r.sampleActive(&s, &b)
	}
	for left := r.beginRecount(weigh != nil); left > 0; b.done() {
		left = r.recountSome(left, &b)
	}
}

// batches are the connections between the two halves of their Sample.
type batches struct {
	weigh func(*Info) float64
	room  []weighed
	seen  int // in a row
}

// weighed is a connection between the two halves of its Sample.
type weighed struct {
	conn *Conn
	info Info
}

// addLocked makes the connection be weighed.
func (b *batches) addLocked(c *Conn) {
	b.seen++
	if b.weigh != nil && c.use == h2conn.InUse {
		b.room = append(b.room, weighed{conn: c})
		c.infoLocked(&b.room[len(b.room)-1].info)
	}
}

// done ends a batch.
func (b *batches) done() {
	for i := range b.room {
		b.room[i].info.Weight = weightBy(b.weigh, &b.room[i].info)
	}
	if len(b.room) > 0 {
		b.room[0].conn.reg.setWeights(b.room)
		clear(b.room)
		b.room = b.room[:0]
	}
	if b.seen >= pauseEvery {
		b.seen = 0
		time.Sleep(samplePause)
		return
	}
	runtime.Gosched()
}

// sampling is what one Sample does to all connections that it visits.
type sampling struct {
	now, since time.Duration // since is that of the Sample before
	fresh      parts         // of the time from one to the other
}

func (r *Registry) beginSample() sampling {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := sampling{now: r.Now(), since: r.sampledAt}
	s.fresh = partsOf(s.now - s.since)
	r.sampledAt = s.now
	r.active.begin()
	return s
}

// sampleActive samples some of the active connections, and reports whether any are left.
func (r *Registry) sampleActive(s *sampling, b *batches) (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := 0; n < sampleBatch && !r.active.over(); n++ {
		c := r.active.next()
		c.sampleLocked(s)
		b.addLocked(c)
	}
	return !r.active.over()
}

// activateLocked makes the next Samples visit the connection. If it was not active, its averages
// have not changed up to the last Sample.
func (c *Conn) activateLocked() {
	if c.pos >= 0 && c.activePos < 0 {
		c.reg.active.add(c)
	}
}

// deactivateLocked undoes activateLocked.
func (c *Conn) deactivateLocked() {
	if c.activePos >= 0 {
		c.reg.active.remove(c)
	}
}

// OnStreams makes the next Samples visit a connection that was left alone, since a stream has
// opened or ended on it.
func (c *Conn) OnStreams() {
	c.reg.mu.Lock()
	defer c.reg.mu.Unlock()
	c.activateLocked()
}

var _ h2conn.StreamObserver = (*Conn)(nil)

// sampleLocked updates the averages.
func (c *Conn) sampleLocked(s *sampling) {
	open, opened := c.wire.Streams()
	c.reg.streams += open - int(c.open)
	c.open = int32(open)
	c.flyLocked(open)
	age, next := s.now-c.opened, c.load
	if !c.sampled {
		next.requests, next.streams = float64(opened)/max(age, youngest).Seconds(), float64(open)
	} else if d := s.now - s.since; d > 0 {
		rate := float64(uint32(opened)-c.sampledStreams) / d.Seconds()
		whole := partsOf(age)
		next.requests += s.fresh.requests / whole.requests * (rate - next.requests)
		next.streams += s.fresh.streams / whole.streams * (float64(open) - next.streams)
	} else {
		return
	}
	c.sampled, c.sampledStreams = true, uint32(opened)
	if next.settle(open) && c.wire.Rest(open, opened) {
		c.deactivateLocked()
	}
	c.setLoadLocked(next)
}

// settle reports whether the averages would stay the same from now on without any news.
func (l *load) settle(open int) bool {
	if l.requests >= negligible || math.Abs(l.streams-float64(open)) >= negligible {
		return false
	}
	l.requests, l.streams = 0, float64(open)
	return true
}

// parts are shares of the latest d in averages without a beginning, in which a moment t ago
// counts exp(-t/over).
type parts struct{ requests, streams float64 }

// partsOf returns 1-exp(-d/over) for both averages. With x for requests, it is 1-(1-x)^3 for
// streams, whose time constant is a third.
func partsOf(d time.Duration) parts {
	if d >= oldEnough {
		return parts{1, 1}
	}
	x := -math.Expm1(-d.Seconds() / requestsOver.Seconds())
	return parts{requests: x, streams: x * (3 - x*(3-x))}
}

// beginRecount returns how many connections this Sample visits of the tour that sums up
// everything again, and weighs the connections that are not active.
func (r *Registry) beginRecount(weighs bool) (visits int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all.over() {
		r.recount = sums{}
		r.all.begin()
	}
	if n := len(r.all.list); weighs {
		return max(n/weighedWithin+1, weighedAtOnce)
	} else {
		return n/recountedWithin + 1
	}
}

// recountSome makes some of the visits and returns how many are left, none once the tour is over.
func (r *Registry) recountSome(visits int, b *batches) (left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := 0; n < sampleBatch && visits > 0 && !r.all.over(); n++ {
		visits--
		c := r.all.next()
		if c.isLoad() {
			r.recount.add(&c.load, 1)
		}
		if c.activePos < 0 {
			b.addLocked(c)
		}
	}
	if r.all.over() {
		r.sums = r.recount
		return 0
	}
	return visits
}
