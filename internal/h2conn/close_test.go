package h2conn

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

func TestClientThatNeverCloses(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.open(1)
		p.drain(0)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel")
		p.state(Acknowledged)
		time.Sleep(time.Hour) // streams may be long
		p.state(Acknowledged)
		p.end(1)
		p.state(Idle)
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "HEADERS", "PING evenkeel", "GOAWAY last=1 NO_ERROR", endIf(half), "EOF")
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
		p.walked(Open, Acknowledged, Idle, Closed)
	})
}

// A client that closes after the half-close ends the wait for its EOF.
func TestClientClosesOnEOF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pipes)
		p.drain(0)
		p.state(Idle)
		time.Sleep(testLinger)
		p.got("GOAWAY bye", "PING evenkeel", "GOAWAY last=0 NO_ERROR", "EOF")
		p.state(Idle)
		_ = p.client.Close()
		p.closedAfter(0, Clean)
	})
}

func TestClientClosesFirst(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.setAcks(false)
		p.drain(0)
		p.state(Draining)
		_ = p.client.Close()
		p.closedAfter(0, Clean)
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
		p.walked(Open, Draining, Closed)
	})
}

func TestCloseWithoutDrain(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.open(1)
		_ = p.client.Close()
		p.closedAfter(0, ByClient)
		p.rec.want(p.t, "closed: client")
		p.walked(Open, Closed)
	})
	inBubble(t, func(p *pair, half bool) {
		_ = p.c.Close()
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(p.t, "closed: server")
		p.walked(Open, Closed)
		if drainNow(p.c, "bye", 0) {
			p.t.Error("Drain of a closed connection returned true")
		}
	})
}

func TestGrace(t *testing.T) {
	const grace = time.Minute
	inBubble(t, func(p *pair, half bool) {
		p.open(1)
		p.drain(grace)
		p.closedAfter(grace, Forced)
		p.rec.want(p.t, "goaway ours=true", "closed: forced")
		p.walked(Open, Acknowledged, Closed)
	})
	inBubble(t, func(p *pair, half bool) { // no ACK, no stream
		p.setAcks(false)
		p.drain(grace)
		p.closedAfter(grace+wantEOFWait, Clean)
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
		p.walked(Open, Draining, Closed)
	})
	inBubble(t, func(p *pair, half bool) { // closed cleanly before the grace is over
		p.drain(grace)
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
	})
}

// An Idle connection is closed only after the client has proved that it has read the
// last trailers.
func TestCloseWaitsForProof(t *testing.T) {
	prepare := func(p *pair) {
		p.open(1)
		p.drain(0)
		p.state(Acknowledged)
		p.setAcks(false)
		p.end(1)
		p.state(Idle)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "HEADERS", "PING evenkeel")
	}
	inBubble(t, func(p *pair, half bool) {
		prepare(p)
		time.Sleep(testLinger + time.Second)
		p.state(Idle)
		p.setAcks(true)
		_ = p.w.WritePing(true, proofData)
		p.fromClient()
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
	})
	// There is no limit to how slowly a client may read.
	inBubble(t, func(p *pair, half bool) {
		prepare(p)
		time.Sleep(time.Hour)
		p.state(Idle)
		p.setAcks(true)
		_ = p.w.WritePing(true, proofData)
		p.fromClient()
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
	})
	// A client that is gone is not waited for.
	inBubble(t, func(p *pair, half bool) {
		prepare(p)
		time.Sleep(time.Hour)
		_ = p.client.Close()
		p.closedAfter(0, Clean)
	})
}

// A connection is silent until the preface and a whole frame have arrived. Both may
// come in pieces. After that, a client may open no stream for as long as it likes.
func TestCloseSilent(t *testing.T) {
	w := newWire()
	w.WriteString(http2.ClientPreface)
	_ = w.WriteSettings()
	begin := w.take()
	for n := range len(begin) + 1 {
		nc := &memConn{in: begin[:n]}
		c := New(nc, nil, nil)
		buf := make([]byte, 1)
		for range n {
			_, _ = c.Read(buf)
		}
		silent := n < len(begin)
		if got := c.CloseSilent(); got != silent || nc.closed != silent {
			t.Errorf("after %d of %d bytes: CloseSilent returned %t, closed: %t", n, len(begin), got, nc.closed)
		}
		if c.CloseSilent() {
			t.Errorf("after %d bytes: the second CloseSilent returned true", n)
		}
	}
}
