package h2conn

import (
	"context"
	"time"
)

// drainState holds what a connection needs once it drains or its server ends it, or once
// Draining is called. Most connections have none, which keeps them small.
type drainState struct {
	debug    string
	draining context.Context // done once the connection drains; nil until somebody needs it
	signal   context.CancelFunc
	holdDone chan struct{} // closed to end the hold; nil if there is none
	grace    *time.Timer

	asked      bool // Drain has begun to drain the connection
	serverDone bool // the server has ended its side while the client was there

	closeTimer *time.Timer // runs for the linger, then for the client's EOF
	timerGen   uint64      // counts the timers that closeTimer has been
	lingered   bool        // the linger has passed since the client proved that it read all
}

func (c *Conn) drainStateLocked() *drainState {
	if c.drain == nil {
		c.drain = new(drainState)
	}
	return c.drain
}

// Drain sends GOAWAY(2^31-1, NO_ERROR, debug) and a PING. debug is cut to 1 KiB.
//
// If streams are open, or have been, the server's writes are held before the
// GOAWAY until the client has read everything sent so far, for at most 1 s.
//
// If grace is positive, the connection is closed after that time even with
// streams open (Forced). If none is open by then, it is closed as an Idle one is
// (Clean), which gives the client up to 5 s more.
//
// Drain itself never blocks. It returns the function that writes both frames, which
// may block and which the caller must call, once. If the writer is stuck or in the
// middle of a frame, the writer sends them later.
//
// Drain returns nil if the connection is already draining, closed or lost, or if the
// server itself has sent a GOAWAY or ended its side. If the server sends one after Drain but before ours
// is written, ours is not written; the grace still applies.
func (c *Conn) Drain(debug string, grace time.Duration) (flush func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Open || c.lost != 0 || c.clientGone || c.serverDoneLocked() {
		return nil
	}
	d := c.drainStateLocked()
	d.debug, d.asked = debug[:min(len(debug), maxDebug)], true
	if grace > 0 {
		d.grace = time.AfterFunc(grace, c.graceOver)
	}
	c.pending.Or(pendingGoAway)
	c.moveLocked(Draining)
	return c.flush
}

// Pings reports whether Drain has begun to drain the connection. Only from then on may the client
// acknowledge PINGs of the Conn's.
func (c *Conn) Pings() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drain != nil && c.drain.asked
}

// Draining returns a channel that is closed once the connection is draining or
// has ended. It does not matter whether Drain or a GOAWAY of the server started
// the draining. A connection pays nothing for the channel before the first call.
func (c *Conn) Draining() <-chan struct{} { return c.drainingContext().Done() }

// AfterDraining calls f in a goroutine of its own once the channel of Draining is
// closed. stop reports whether it has prevented that, as that of context.AfterFunc.
// Until then there is no goroutine.
func (c *Conn) AfterDraining(f func()) (stop func() bool) {
	return context.AfterFunc(c.drainingContext(), f)
}

func (c *Conn) drainingContext() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.drainStateLocked()
	if d.draining == nil {
		d.draining, d.signal = context.WithCancel(context.Background())
		if c.state != Open {
			d.signalLocked()
		}
	}
	return d.draining
}

// signalLocked closes the channel that Draining returned.
func (d *drainState) signalLocked() {
	if d.signal != nil {
		d.signal()
	}
}

// onReadLocked handles a frame that the client has sent.
func (c *Conn) onReadLocked(ev event) {
	c.begun = true
	if ev != framesLost {
		c.useLocked()
	}
	if c.lost != 0 {
		return
	}
	switch ev {
	case streamOpened:
		c.stirLocked()
		c.streams.add(c.in.id)
	case streamReset:
		c.stirLocked()
		c.streams.remove(c.in.id)
	case proofAcked:
		c.acked = c.acked || c.proofInFlight
		c.proofInFlight = false
	case holdAcked:
		c.endHoldLocked()
	case framesLost:
		c.loseLocked(lostPreface)
	}
	c.advanceLocked()
}

// onWrittenLocked handles a frame that the server has written, even if the
// connection has ended before the write returned.
func (c *Conn) onWrittenLocked(ev event) {
	if c.lost != 0 {
		return
	}
	switch ev {
	case streamEnded:
		c.stirLocked()
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

// serverGoAwayLocked handles a GOAWAY of the server itself. If ours has not been
// written yet, it never will be: its ID could be the higher one. grpc-go silently
// drops the streams above last.
func (c *Conn) serverGoAwayLocked(last uint32) {
	c.stirLocked()
	c.streams.refuseAbove(last)
	c.pending.And(^uint32(pendingGoAway))
	if c.goAway != noGoAway {
		return
	}
	c.goAway = servers
	if c.state == Open {
		c.moveLocked(Draining)
	}
	c.news.Store(true)
}

// injected is called when our frames are on the wire.
func (c *Conn) injected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.goAway == noGoAway {
		c.goAway = ours
		c.news.Store(true)
	}
	c.advanceLocked()
}

// advanceLocked moves a connection that Drain has sent a GOAWAY on to the state
// that it has reached, and closes it once that loses nothing. It is called after
// every event.
func (c *Conn) advanceLocked() {
	if c.goAway != ours || c.lost != 0 || c.closing || c.state == Closed {
		return
	}
	if !c.acked && !c.clientGone {
		return
	}
	if c.streams.len() > 0 {
		c.moveLocked(Acknowledged)
		return
	}
	c.moveLocked(Idle)
	switch {
	case !c.provedLocked():
		c.proveLocked()
	case c.drain.lingered:
		c.setClosingLocked()
		go c.closeIdle()
	case c.drain.closeTimer == nil:
		c.lingerLocked()
	}
}

// provedLocked reports whether the client has read everything that was written to
// it, as far as that matters: the end of every stream.
func (c *Conn) provedLocked() bool {
	return c.clientGone || !c.proofInFlight && !c.unread
}

// proveLocked sends another proof PING if streams have ended since the latest one.
// At most one is in flight. A slow client is waited for, however long it takes:
// closing the connection would lose what it has not read.
func (c *Conn) proveLocked() {
	if c.proofInFlight {
		return
	}
	if c.pending.Or(pendingProof)&pendingProof == 0 && !c.writeMu.locked() {
		go c.flush()
	}
}

// lingerLocked gives the client time to close the connection, or to open a stream
// that it had sent before it read the GOAWAY. A timer that could not be stopped in
// time notices that timerGen has moved on.
func (c *Conn) lingerLocked() {
	d := c.drain
	d.timerGen++
	gen := d.timerGen
	d.closeTimer = time.AfterFunc(c.linger(), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if d.timerGen == gen {
			d.lingered = true
			c.advanceLocked()
		}
	})
}

// stopLinger undoes lingerLocked.
func (d *drainState) stopLinger() {
	if d.closeTimer != nil {
		d.closeTimer.Stop()
	}
	d.closeTimer, d.lingered = nil, false
	d.timerGen++
}

// moveLocked changes the state.
func (c *Conn) moveLocked(to State) {
	if c.state == to {
		return
	}
	d := c.drainStateLocked()
	if c.state == Idle {
		d.stopLinger()
	}
	c.state = to
	d.signalLocked()
}
