package h2conn

import (
	"bytes"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/net/http2"
)

// eofWait is how long the client has to close a connection that the Conn is closing.
// Closing at once would answer a late frame of the client with a reset, which
// destroys what the client has not read yet.
const eofWait = 5 * time.Second

func (c *Conn) setClosingLocked() {
	c.closing = true
	c.pending.Store(0)
	c.endHoldLocked()
}

// closeIdle closes a connection that has no streams, in three steps. The last word
// is a GOAWAY with the newest stream that the server has read. The write side is
// closed, so that a client that is still sending gets no reset. The connection is
// closed after the client's EOF, at the latest after eofWait.
//
// Nothing that the client sends after the last word reaches the server, so the
// client may retry it elsewhere (RFC 9113, section 6.8). If a writer is stuck, the
// end of eofWait frees it.
func (c *Conn) closeIdle() {
	c.mu.Lock()
	if c.state != Closed {
		c.drain.closeTimer = time.AfterFunc(eofWait, func() { _ = c.Close() })
		c.pending.Store(pendingLast)
	}
	c.mu.Unlock()
	c.flush()
}

// sayLast writes the last word and closes the write side. If the connection below
// cannot do that, a PING takes its place: once that is acknowledged, the client has
// read everything, and a reset harms nothing. The caller holds writeMu and is between
// two frames.
func (c *Conn) sayLast() error {
	c.mu.Lock()
	last := min(c.streams.newest, c.streams.limit)
	c.pending.Store(0)
	c.mu.Unlock()
	c.out.over = lastWord
	half, ok := c.Conn.(interface{ CloseWrite() error })
	var buf bytes.Buffer
	fr := http2.NewFramer(&buf, nil)
	_ = fr.WriteGoAway(last, http2.ErrCodeNo, nil)
	if !ok {
		_ = fr.WritePing(false, lastData)
	}
	if err := c.writeFrames(buf.Bytes()); err != nil {
		return err
	}
	c.injected()
	if ok {
		_ = half.CloseWrite()
	}
	return nil
}

// graceOver is called at the end of the grace that Drain was given.
func (c *Conn) graceOver() {
	c.mu.Lock()
	if c.state == Closed || c.closing {
		c.mu.Unlock()
		return
	}
	c.setClosingLocked()
	forced := c.lost != 0 || c.streams.len() > 0 // lost, it does not know its streams
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

var errNoHalfClose = errors.New("h2conn: the connection below cannot be half-closed")

// CloseWrite ends what the server writes and leaves the client's side open, for a server that
// passes on bytes of another one. Nothing is injected from then on, and Drain returns nil. It
// fails if the connection below cannot be half-closed.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errNoHalfClose
	}
	c.mu.Lock()
	if !c.clientGone {
		c.drainStateLocked().serverDone = true
	}
	c.pending.Store(0)
	c.endHoldLocked()
	c.mu.Unlock()
	c.writeMu.lock()
	c.out.over = lastWord
	err := half.CloseWrite()
	c.endWrite()
	c.notify()
	return err
}

// serverDoneLocked reports whether the server has ended its side while the client was there.
func (c *Conn) serverDoneLocked() bool { return c.drain != nil && c.drain.serverDone }

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
	switch idle := c.idleLocked(); {
	case c.closing && !idle:
		return Forced
	case c.closing:
		return Clean
	case c.serverDoneLocked():
		return ByServer
	case c.clientGone:
		return ByClient
	}
	return ByServer
}

// idleLocked reports whether no stream is open, as far as is known.
func (c *Conn) idleLocked() bool { return c.streams.len() == 0 && c.lost == 0 }

// finalHowLocked returns the way in which a Closed connection has ended. A client may have
// read a GOAWAY and closed before the write of it had returned.
func (c *Conn) finalHowLocked() How {
	if c.how == ByClient && c.goAway != noGoAway && c.idleLocked() {
		return Clean
	}
	return c.how
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
		c.drain.stopLinger()
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
