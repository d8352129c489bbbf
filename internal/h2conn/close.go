package h2conn

import (
	"errors"
	"net"
	"os"
	"time"
)

const (
	// proofWait is how often an Idle connection is checked while the client has yet
	// to acknowledge that it has read the last trailers. A slow client is waited
	// for: closing the connection would lose what it has not read.
	proofWait = 5 * time.Second
	// eofWait is how long a half-closed connection waits for the client's EOF.
	// Closing at once would answer a late frame of the client with a reset, which
	// destroys what the client has not read yet.
	eofWait = 5 * time.Second
)

// lingerLocked sets the timer of an Idle connection. A timer that could not be
// stopped in time notices that timerGen has moved on.
func (c *Conn) lingerLocked(d time.Duration) {
	c.drain.timerGen++
	gen := c.drain.timerGen
	c.drain.closeTimer = time.AfterFunc(d, func() { c.lingerOver(gen) })
}

// lingerOver is called when the client has had long enough to close an Idle
// connection.
func (c *Conn) lingerOver(gen uint64) {
	c.mu.Lock()
	d := c.drain
	if c.state != Idle || c.closing || d.timerGen != gen {
		c.mu.Unlock()
		return
	}
	proved := !c.proofInFlight && !c.unread
	if !proved && !c.clientGone {
		d.awaitingProof = true
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

// closeIdle closes a connection that has no streams. It closes the write side
// first, so that a client that is still sending gets no reset. If a writer is
// stuck, closing the connection ends the wait for writeMu.
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
	c.notify() // the connection may have ended in the meantime
}

// graceOver is called at the end of the grace that Drain was given.
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

// Close closes the connection below. That makes the server's reader fail, which
// ends the transport.
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

// CloseSilent closes the connection if the client has not yet sent the HTTP/2
// preface and a first frame. No RPC can be lost at that point. It reports whether
// it closed the connection.
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

// howLocked returns which side is ending the connection.
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

// endLocked makes the connection Closed. A write that is under way may still put
// a GOAWAY on the wire.
func (c *Conn) endLocked() {
	c.how = c.howLocked()
	c.state = Closed
	c.pending.Store(0)
	c.news.Store(true)
	c.endHoldLocked()
	if c.drain == nil {
		return
	}
	c.drain.signalLocked()
	for _, t := range []*time.Timer{c.drain.grace, c.drain.closeTimer} {
		if t != nil {
			t.Stop()
		}
	}
}

// loseLocked gives up following the frames. A GOAWAY that the client has got
// stands, but the Conn closes the connection only if Drain was given a grace.
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

// readFailed is called with every error of a read.
func (c *Conn) readFailed(err error) {
	if !causedByPeer(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clientGoneLocked()
}

// writeFailed is called when a write did not send all of its bytes.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && causedByPeer(err) {
		c.clientGoneLocked()
		return
	}
	c.loseLocked(lostWrite)
}

// clientGoneLocked records that the client is gone. That proves as much as an ACK
// does: the client has closed the connection, or will find out that it broke.
func (c *Conn) clientGoneLocked() {
	if c.closing || c.state == Closed {
		return
	}
	c.clientGone = true
	c.pending.Store(0)
	c.endHoldLocked()
	c.advanceLocked()
}

// causedByPeer reports whether the other side caused the error. This side causes
// two: an expired deadline, and a connection that was closed during the call.
func causedByPeer(err error) bool {
	return !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}
