package conns

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// drainState is when and why a connection was drained.
type drainState struct {
	since  time.Duration
	reason reason.Reason

	before, after *Conn // in reg.drained
	open          int   // streams that Flight counts
}

// drainedList holds the drained connections, the oldest drain first. So what asks for old ones
// does not visit the others.
type drainedList struct{ first, last *Conn }

func (l *drainedList) add(c *Conn) {
	if c.drain.before = l.last; l.last == nil {
		l.first = c
	} else {
		l.last.drain.after = c
	}
	l.last = c
}

func (l *drainedList) remove(c *Conn) {
	d := c.drain
	if d.before == nil {
		l.first = d.after
	} else {
		d.before.drain.after = d.after
	}
	if d.after == nil {
		l.last = d.before
	} else {
		d.after.drain.before = d.before
	}
	d.before, d.after = nil, nil
}

// Flight is what the drained connections with open streams still carry. Those that only health
// checks use carry nothing.
type Flight struct {
	// Loads are the sums over these connections. They follow the connections: what has
	// ended weighs no more, since it begins again elsewhere and is load there.
	Loads Loads
	// Streams is the number of streams in flight. Like Loads, it is as of the last Sample,
	// with the connections that were drained since and without those that were closed.
	Streams int
	// Oldest is how long ago the first of them was drained.
	Oldest time.Duration
}

// flight is what the registry knows of Flight.
type flight struct {
	conns, streams int
	sums           sums
}

// Flight returns the sums. It visits only the connections whose drain is older.
func (r *Registry) Flight() Flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &r.flight
	if f.conns == 0 {
		f.sums = sums{} // without the remainders of rounding
		return Flight{}
	}
	out := Flight{Loads: f.sums.loads(f.conns), Streams: f.streams}
	for c := r.drained.first; c != nil; c = c.drain.after {
		if c.flies() {
			out.Oldest = r.Now() - c.drain.since
			break
		}
	}
	return out
}

// flies reports whether the connection is part of Flight.
func (c *Conn) flies() bool { return c.drain != nil && c.drain.open > 0 }

// flyLocked counts a drained connection in Flight, if it has open streams.
func (c *Conn) flyLocked(open int) {
	d, f := c.drain, &c.reg.flight
	if d == nil {
		return
	}
	if c.use != h2conn.InUse {
		open = 0
	}
	switch {
	case open > 0 && d.open == 0:
		f.conns++
		f.sums.add(&c.load, 1)
	case open == 0 && d.open > 0:
		f.conns--
		f.sums.add(&c.load, -1)
	}
	f.streams += open - d.open
	d.open = open
}

// drainedLocked notes that a listed connection has been drained, before or after it was listed.
func (c *Conn) drainedLocked() {
	c.reg.drained.add(c)
	open, _ := c.wire.Streams()
	c.flyLocked(open)
}

// Slow returns the number of live connections that were drained longer than d ago: they
// have long streams, or clients that do not acknowledge. HTTP/1.1 connections that wait for
// their client's next request are left out.
func (r *Registry) Slow(d time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, before := 0, r.Now()-d
	for c := r.drained.first; c != nil && c.drain.since <= before; c = c.drain.after {
		if !c.waits() {
			n++
		}
	}
	return n
}
