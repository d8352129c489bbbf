package h1conn

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

// Conn is one HTTP/1.1 connection. The server calls Begin, Used, Last and End in this order
// for each request, from one goroutine; all other methods may be called at any time.
type Conn struct {
	nc   net.Conn
	addr net.Addr

	mu  sync.Mutex // guards what follows; never held during calls of obs
	obs h2conn.Observer

	opened uint64
	open   bool // a request has begun and its answer has not ended
	use    h2conn.Use
	rest   rest
	drain  *drainState // nil until it is needed

	draining, announced, gone, forced, closed bool
	taken                                     bool // by a handler, before any drain
	how                                       h2conn.How

	notifying, announceNotified bool
	useNotified                 h2conn.Use
}

// rest is how far a connection has come from one Rest to the next.
type rest uint8

const (
	awake   rest = iota
	resting      // no request has begun or ended since Rest
	stirred      // one has, and OnStreams has not been called yet
)

// drainState holds what a connection needs once it drains, or once Draining is called.
type drainState struct {
	ctx    context.Context // done once the connection drains
	signal context.CancelFunc
	grace  *time.Timer
}

// New returns the Conn of nc, whose client speaks HTTP/1.1. obs is notified as by an
// h2conn.Conn. OnGoAway(true) means that an answer closes the connection.
func New(nc net.Conn, obs h2conn.Observer) *Conn {
	return &Conn{nc: nc, obs: obs, addr: h2conn.UniqueAddr(nc.RemoteAddr())}
}

// RemoteAddr returns the same value on every call: see h2conn.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.addr }

// WrapAddr makes the address unique. Call it before anybody has called RemoteAddr.
func (c *Conn) WrapAddr() { c.addr = h2conn.WrapAddr(c.addr) }

// Begin notes that a request has been read.
func (c *Conn) Begin() {
	c.mu.Lock()
	c.open, c.gone = true, false // whatever an error has looked like, the client is there
	c.opened++
	c.stirLocked()
	c.unlock()
}

// Used notes what the client uses the connection for. It only ever rises.
func (c *Conn) Used(u h2conn.Use) {
	c.mu.Lock()
	c.use = max(c.use, u)
	c.unlock()
}

// Last reports whether the answer that is about to be given must close the connection. The
// server then says so in the answer, and closes the connection after it.
func (c *Conn) Last() bool {
	c.mu.Lock()
	last := c.draining && !c.closed
	c.announced = c.announced || last
	c.unlock()
	return last
}

// End notes that an answer is complete and the connection is kept.
func (c *Conn) End() {
	c.mu.Lock()
	c.open = false
	c.stirLocked()
	c.unlock()
}

// Gone notes that the client has closed the connection, or that it broke.
func (c *Conn) Gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.Closed()
	return c.nc.Close()
}

// Closed notes that the connection has been closed, or will be at once.
func (c *Conn) Closed() {
	c.mu.Lock()
	if !c.closed {
		c.endLocked()
	}
	c.unlock()
}

// TakenOver notes that a handler has taken over the connection, and that its end will not be seen.
// For the observer it is closed. To the handler it must not look drained.
func (c *Conn) TakenOver() {
	c.mu.Lock()
	if !c.closed {
		c.taken = !c.draining
		c.endLocked()
		c.how = h2conn.ByServer
	}
	c.unlock()
}

func (c *Conn) endLocked() {
	c.how = c.howLocked()
	c.closed = true
	if c.drain == nil {
		return
	}
	if !c.taken {
		c.drain.signal()
	}
	if c.drain.grace != nil {
		c.drain.grace.Stop()
	}
}

// howLocked returns how the connection ends.
//
//	the grace is over, with a request open        Forced
//	an answer has closed it, or it drains idle    Clean
//	the client closed it, or asked for that       ByClient
//	otherwise: idle for too long, or a shutdown   ByServer
func (c *Conn) howLocked() h2conn.How {
	switch {
	case c.forced && c.open:
		return h2conn.Forced
	case c.announced, c.draining && !c.open:
		return h2conn.Clean
	case c.gone, c.open:
		return h2conn.ByClient
	}
	return h2conn.ByServer
}

// CloseSilent closes the connection if no request has been read on it, and reports whether it
// did.
func (c *Conn) CloseSilent() bool {
	c.mu.Lock()
	silent := c.opened == 0 && !c.closed
	c.mu.Unlock()
	if silent {
		_ = c.Close()
	}
	return silent
}

// Streams returns the number of requests in flight, and of those ever read.
func (c *Conn) Streams() (open int, opened uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.openLocked(), c.opened
}

func (c *Conn) openLocked() int {
	if c.open && !c.closed {
		return 1
	}
	return 0
}

// Rest makes the observer's OnStreams be called once the requests are no longer as Streams has
// returned them: see h2conn.Conn.
func (c *Conn) Rest(open int, opened uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rest == stirred || c.closed || c.openLocked() != open || c.opened != opened {
		return false
	}
	c.rest = resting
	return true
}

func (c *Conn) stirLocked() {
	if c.rest == resting {
		c.rest = stirred
	}
}

// Lost returns nil: there is nothing that could be lost.
func (c *Conn) Lost() error { return nil }

// Drain makes the next answer close the connection. If grace is positive, the connection is
// closed after that time even with a request open. Drain returns nil if the connection is
// draining already or has ended, otherwise a function that does nothing: nothing is written
// before the next answer.
func (c *Conn) Drain(_ string, grace time.Duration) (flush func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining || c.closed {
		return nil
	}
	c.draining = true
	d := c.drainStateLocked()
	if grace > 0 {
		d.grace = time.AfterFunc(grace, c.graceOver)
	}
	d.signal()
	return func() {}
}

func (c *Conn) graceOver() {
	c.mu.Lock()
	c.forced = true
	c.mu.Unlock()
	_ = c.Close()
}

// Announced reports whether an answer has closed the connection, or the connection has ended.
func (c *Conn) Announced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.announced || c.closed
}

// Draining returns a channel that is closed once the connection drains or has ended. It stays open
// after TakenOver.
func (c *Conn) Draining() <-chan struct{} { return c.drainingContext().Done() }

// AfterDraining calls f in a goroutine of its own once the channel of Draining is closed.
func (c *Conn) AfterDraining(f func()) (stop func() bool) {
	return context.AfterFunc(c.drainingContext(), f)
}

func (c *Conn) drainingContext() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.drainStateLocked()
	if c.draining || c.closed && !c.taken {
		d.signal()
	}
	return d.ctx
}

func (c *Conn) drainStateLocked() *drainState {
	if c.drain == nil {
		c.drain = &drainState{}
		c.drain.ctx, c.drain.signal = context.WithCancel(context.Background())
	}
	return c.drain
}

// unlock unlocks mu and calls the observer with what it has not heard of yet, one call at a
// time and in order.
func (c *Conn) unlock() {
	defer c.mu.Unlock()
	if c.notifying {
		return // that goroutine makes the calls
	}
	c.notifying = true
	for call := c.nextCallLocked(); call != nil; call = c.nextCallLocked() {
		c.mu.Unlock()
		call()
		c.mu.Lock()
	}
	c.notifying = false
}

// nextCallLocked returns the next call of the observer, or nil if there is none to make now.
func (c *Conn) nextCallLocked() func() {
	obs := c.obs
	if obs == nil {
		return nil
	}
	switch {
	case c.use != c.useNotified:
		c.useNotified = c.use
		u := c.use
		return func() { obs.OnUse(u) }
	case c.rest == stirred:
		c.rest = awake
		if so, ok := obs.(h2conn.StreamObserver); ok {
			return so.OnStreams
		}
		return c.nextCallLocked()
	case c.announced && !c.announceNotified:
		c.announceNotified = true
		return func() { obs.OnGoAway(true) }
	case c.closed:
		c.obs = nil
		how := c.how
		return func() { obs.OnClose(how) }
	}
	return nil
}
