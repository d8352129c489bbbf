package h2conn

import (
	"bytes"
	"time"

	"golang.org/x/net/http2"
)

// holdWait bounds how long the server's writes wait for a client to read what
// was sent before the GOAWAY. Any round trip within a region is far shorter. A
// client that takes longer gets the GOAWAY all the same, and a longer wait would
// show in the latency of its RPCs.
const holdWait = 100 * time.Millisecond

// hold makes our GOAWAY the first thing in what the client reads next: it sends
// a PING and waits for its ACK, while whoever else writes waits for the turn.
//
// Clients on nghttp2 and the like tell of the end of an RPC while they still
// parse what was read. One that begins its next RPC there refuses it by itself
// if a GOAWAY stands behind that end in the same read, and not all try again.
//
// It is called between two frames, by who has the turn. An error is one of the
// PING's write.
func (c *Conn) hold() error {
	held := c.beginHold()
	if held == nil {
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
	case <-held:
	case <-limit.C:
	}
	return nil
}

// beginHold returns the channel that ends the hold, nil if there is nothing to
// wait for: no GOAWAY to write, or no stream whose end the client could read
// together with it. Streams that have ended count: the client of a fast server
// often has the ends of all its RPCs still to read. The channel is there before the
// PING is: its ACK may be read before the write returns.
func (c *Conn) beginHold() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending.Load()&pendingGoAway == 0 || len(c.streams.open) == 0 && !c.unread {
		return nil
	}
	held := make(chan struct{})
	c.drain.holdDone = held
	return held
}

// endHoldLocked lets the GOAWAY be written, or not, if what has come makes it
// useless.
func (c *Conn) endHoldLocked() {
	if c.drain != nil && c.drain.holdDone != nil {
		close(c.drain.holdDone)
		c.drain.holdDone = nil
	}
}
