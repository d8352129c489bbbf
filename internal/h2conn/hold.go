package h2conn

import (
	"bytes"
	"time"

	"golang.org/x/net/http2"
)

// holdWait bounds how long the server's writes wait for a client to read what
// was sent before the GOAWAY. It is enough for a round trip around the world and a
// packet that is sent twice. Until then the client cannot read what comes after
// the lost packet anyway, and would then read it together with the GOAWAY.
const holdWait = time.Second

// hold makes our GOAWAY the first thing in the client's next read. It sends a PING
// and waits for its ACK; other writers wait for writeMu meanwhile.
//
// Clients built on libraries such as nghttp2 learn that an RPC has ended while
// the library is still parsing a read. They may begin their next RPC right there.
// If a GOAWAY follows in that read, the client refuses the new RPC itself, and not
// every client retries it.
//
// The caller holds writeMu and is between two frames. An error comes from writing
// the PING.
func (c *Conn) hold() error {
	done := c.beginHold()
	if done == nil {
		return nil
	}
	var buf bytes.Buffer
	_ = http2.NewFramer(&buf, nil).WritePing(false, holdData)
	if err := c.writeFrames(buf.Bytes()); err != nil {
		return err
	}
	limit := time.NewTimer(holdWait)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	}
	return nil
}

// beginHold returns the channel that ends the hold, or nil if there is nothing to
// wait for. That is so if there is no GOAWAY to write, or no stream whose end the
// client could read together with it. Streams that have ended count, too: with a
// fast server, a client often has yet to read the ends of all its RPCs.
//
// The channel exists before the PING is written, since its ACK may be read before
// that write returns.
func (c *Conn) beginHold() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending.Load()&pendingGoAway == 0 || c.streams.len() == 0 && !c.unread {
		return nil
	}
	done := make(chan struct{})
	c.drain.holdDone = done
	return done
}

// endHoldLocked ends the hold. The GOAWAY follows, unless the reason for ending the
// hold has also removed it from pending.
func (c *Conn) endHoldLocked() {
	if c.drain != nil && c.drain.holdDone != nil {
		close(c.drain.holdDone)
		c.drain.holdDone = nil
	}
}
