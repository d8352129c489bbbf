package h2conn

import (
	"errors"
	"net"
	"os"
	"time"
)

const (
	// proofWait is how often a quiet connection is looked at whose client has not
	// acknowledged yet that it has read the last trailers. It may read slowly, and is waited
	// for: what it has not read would be lost with the connection.
	proofWait = 5 * time.Second
	// eofWait is how long a half-closed connection waits for the client's EOF.
	// Without it, a frame that the client still sends would be answered with a
	// reset, which destroys what the client has not read yet.
	eofWait = 5 * time.Second
)

// exit is what only a connection on its way out needs.
type drainState struct {
	debug         string
	draining      chan struct{} // nil until somebody asks for it
	announced     bool          // leaving is closed
	holdDone      chan struct{} // closed to end the hold before the GOAWAY
	grace         *time.Timer
	closeTimer    *time.Timer // then the wait for the proof, then for EOF
	timerGen      uint64      // counts the timers that linger has been
	awaitingProof bool        // the linger is over, the proof is missing
}

func (c *Conn) drainStateLocked() *drainState {
	if c.drain == nil {
		c.drain = new(drainState)
	}
	return c.drain
}

// Drain asks the client to leave: GOAWAY(2^31-1, NO_ERROR, debug) and a PING.
// It never blocks: if the writer is stuck, or in the middle of a frame, the
// writer sends both later. debug beyond 1 KiB is cut off.
//
// If streams are open, or have been, the server's writes are held before the GOAWAY
// until the client has read what was sent so far, for 100 ms at most.
//
// grace, if positive, is the time after which the connection is closed even
// with streams open (Forced). If none is open by then it is closed as a quiet
// one is, which gives the client up to 5 s more (Clean).
//
// Drain reports whether this call was the one that asked: false if it was asked
// before, is closed or lost, or the server itself has sent a GOAWAY. If the
// server sends one after Drain but before ours could be written, ours is not
// written; the grace stands.
func (c *Conn) Drain(debug string, grace time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Open || c.lost != 0 || c.clientGone {
		return false
	}
	x := c.drainStateLocked()
	x.debug = debug[:min(len(debug), maxDebug)]
	if grace > 0 {
		x.grace = time.AfterFunc(grace, c.graceOver)
	}
	c.pending.Or(pendingGoAway)
	c.moveLocked(Draining)
	go c.flush() // the caller may hold locks that its observer wants
	return true
}

// Draining returns a channel that is closed once the connection has been asked
// to leave, by Leave or by a GOAWAY of the server itself, or has ended. It costs
// nothing until it is called.
func (c *Conn) Draining() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.drainStateLocked()
	if x.draining == nil {
		x.draining = make(chan struct{})
		if c.state != Open {
			x.announceLocked()
		}
	}
	return x.draining
}

func (x *drainState) announceLocked() {
	if x.draining != nil && !x.announced {
		x.announced = true
		close(x.draining)
	}
}

// onReadLocked takes what the client has sent.
func (c *Conn) onReadLocked(ev event) {
	c.begun = true
	if c.lost != 0 {
		return
	}
	switch ev {
	case streamOpened:
		c.streams.add(c.in.id, c.in.id > c.limit)
	case streamReset:
		c.streams.remove(c.in.id)
	case pingAcked:
		c.acked = c.acked || c.proofInFlight
		c.proofInFlight = false
	case holdAcked:
		c.endHoldLocked()
	case framesLost:
		c.loseLocked(lostPreface)
	}
	c.advanceLocked()
}

// onWrittenLocked takes what the server has written, also if the connection has ended
// before the write returned.
func (c *Conn) onWrittenLocked(ev event) {
	if c.lost != 0 {
		return
	}
	switch ev {
	case streamEnded:
		if c.streams.remove(c.out.id) {
			c.unread = true
		}
	case goAwayPassed:
		c.serverGoAwayLocked(c.out.lastID)
	case framesLost:
		c.loseLocked(lostFrame)
	}
	c.advanceLocked()
}

// serverGoAwayLocked is a GOAWAY of the server itself. Ours, if it has not been
// written, never will be: its id could be the higher one. Streams above the id
// are dropped by grpc-go without a word.
func (c *Conn) serverGoAwayLocked(last uint32) {
	c.limit = min(c.limit, last)
	c.streams.removeAbove(c.limit)
	c.pending.And(^uint32(pendingGoAway))
	if c.goAway {
		return
	}
	c.goAway = true
	if c.state == Open {
		c.moveLocked(Draining)
	}
	c.news.Store(true)
}

// injected is called when our frames are on the wire.
func (c *Conn) injected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.goAway {
		c.goAway, c.goAwayOurs = true, true
		c.news.Store(true)
	}
	c.advanceLocked()
}

// advanceLocked moves a connection that has our GOAWAY to where it is now.
func (c *Conn) advanceLocked() {
	if !c.goAwayOurs || c.lost != 0 || c.closing || c.state == Closed {
		return
	}
	if !c.acked && !c.clientGone {
		return
	}
	if len(c.streams.open) > 0 {
		c.moveLocked(Acknowledged)
		return
	}
	c.moveLocked(Idle)
	if !c.clientGone {
		c.proveLocked()
	}
}

// proveLocked sees to it that the client has read the end of the last stream
// before a quiet connection is closed: another PING, if streams have ended since
// the one before. At most one is on its way.
func (c *Conn) proveLocked() {
	if c.proofInFlight {
		return
	}
	if c.unread {
		if c.pending.Or(pendingProof)&pendingProof == 0 && !c.writeMu.locked() {
			go c.flush()
		}
		return
	}
	if c.drain.awaitingProof && c.drain.closeTimer.Stop() {
		c.setClosingLocked()
		go c.closeIdle()
	}
}

// moveLocked changes the state.
func (c *Conn) moveLocked(to State) {
	if c.state == to {
		return
	}
	x := c.drainStateLocked()
	if c.state == Idle {
		x.closeTimer.Stop()
	}
	c.state = to
	x.announceLocked()
	if to == Idle {
		x.awaitingProof = false
		c.lingerLocked(c.linger)
	}
}

// lingerLocked sets the timer of a quiet connection. One that could not be
// stopped in time finds that there has been another turn since.
func (c *Conn) lingerLocked(d time.Duration) {
	c.drain.timerGen++
	gen := c.drain.timerGen
	c.drain.closeTimer = time.AfterFunc(d, func() { c.lingerOver(gen) })
}

// lingered is called when a quiet connection has been left to its client for
// long enough.
func (c *Conn) lingerOver(gen uint64) {
	c.mu.Lock()
	x := c.drain
	if c.state != Idle || c.closing || x.timerGen != gen {
		c.mu.Unlock()
		return
	}
	proved := !c.proofInFlight && !c.unread
	if !proved && !c.clientGone {
		x.awaitingProof = true
		c.lingerLocked(proofWait)
		c.mu.Unlock()
		return
	}
	c.setClosingLocked()
	c.mu.Unlock()
	c.closeIdle()
}

func (c *Conn) setClosingLocked() {
	c.closing = true
	c.pending.Store(0)
	c.endHoldLocked()
}

// closeIdle closes a connection without streams: half of it first, so that a
// client that is still sending gets no reset. If a writer is stuck, the wait for
// its turn ends with the connection.
func (c *Conn) closeIdle() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		_ = c.Close()
		return
	}
	c.mu.Lock()
	if c.state != Closed {
		c.drain.closeTimer = time.AfterFunc(eofWait, func() { _ = c.Close() })
	}
	c.mu.Unlock()
	c.writeMu.lock()
	_ = half.CloseWrite()
	c.endWrite()
	c.notify() // the end, if it came meanwhile
}

// graceOver is called when the grace that Leave gave is over.
func (c *Conn) graceOver() {
	c.mu.Lock()
	if c.state == Closed || c.closing {
		c.mu.Unlock()
		return
	}
	c.setClosingLocked()
	forced := len(c.streams.open) > 0
	c.mu.Unlock()
	if forced {
		_ = c.Close()
		return
	}
	c.closeIdle()
}

// Close closes the connection below. The server's reader fails with it, and so
// the transport ends.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.state != Closed {
		c.endLocked()
	}
	c.mu.Unlock()
	err := c.Conn.Close()
	c.notify()
	return err
}

// CloseSilent closes the connection if its client has not said yet what begins HTTP/2:
// the preface and a frame. Nothing can be lost then. It reports whether it did.
func (c *Conn) CloseSilent() bool {
	c.mu.Lock()
	silent := !c.begun && c.state != Closed
	if silent {
		c.endLocked()
	}
	c.mu.Unlock()
	if silent {
		_ = c.Close()
	}
	return silent
}

// howLocked says who is ending the connection.
func (c *Conn) howLocked() How {
	switch {
	case c.clientGone:
		return ByClient
	case c.closing && len(c.streams.open) > 0:
		return Forced
	case c.closing:
		return Clean
	}
	return ByServer
}

// endLocked makes the connection Closed. A write that is under way may still put a
// GOAWAY on the wire.
func (c *Conn) endLocked() {
	c.how = c.howLocked()
	c.state = Closed
	c.pending.Store(0)
	c.news.Store(true)
	c.endHoldLocked()
	if c.drain == nil {
		return
	}
	c.drain.announceLocked()
	for _, t := range []*time.Timer{c.drain.grace, c.drain.closeTimer} {
		if t != nil {
			t.Stop()
		}
	}
}

// loseLocked gives up following the frames. What has been told to the client
// stands, but the connection is not closed from here any more, unless a grace
// was given.
func (c *Conn) loseLocked(why uint8) {
	if c.lost != 0 || c.clientGone || c.closing || c.state == Closed {
		return
	}
	c.lost = why
	c.pending.Store(0)
	c.news.Store(true)
	if c.state == Idle {
		c.drain.closeTimer.Stop()
		c.drain.timerGen++
	}
}

// readFailed is called with each error of a read.
func (c *Conn) readFailed(err error) {
	if !peerGone(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clientGoneLocked()
}

// writeFailed is called when not all of a write went out.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && peerGone(err) {
		c.clientGoneLocked()
		return
	}
	c.loseLocked(lostWrite)
}

// clientGoneLocked notes that the client is gone. That proves as well as an ACK that it has
// left, or will find out.
func (c *Conn) clientGoneLocked() {
	if c.closing || c.state == Closed {
		return
	}
	c.clientGone = true
	c.pending.Store(0)
	c.endHoldLocked()
	c.advanceLocked()
}

// peerGone tells the errors that the other side caused from those that were
// made here: a deadline, or a connection closed under our feet.
func peerGone(err error) bool {
	return !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}
