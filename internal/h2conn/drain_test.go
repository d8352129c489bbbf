package h2conn

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// Without streams nothing is sent after the first PING, so there is no second one.
func TestDrainWithoutStreams(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.drain(0)
		p.state(Idle)
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
		p.got("GOAWAY bye", "PING evenkeel", "GOAWAY last=0 NO_ERROR", endIf(half), "EOF")
	})
}

// Until Drain, no acknowledgement of a PING can be for one of the Conn's, even if somebody waits
// for the drain.
func TestPingsFromDrainOn(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.c.Draining()
		if p.c.Pings() {
			t.Error("it may have sent a PING before Drain")
		}
		p.drain(0)
		if !p.c.Pings() {
			t.Error("it has sent no PING after Drain")
		}
	})
}

// A stream that opens in an Idle connection keeps it from being closed.
func TestStreamOpensWhileIdle(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.drain(0)
		p.state(Idle)
		time.Sleep(testLinger - 1)
		p.open(1)
		p.state(Acknowledged)
		time.Sleep(time.Hour)
		p.end(1)
		p.state(Idle)
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
		p.walked(Open, Idle, Acknowledged, Idle, Closed)
	})
}

// RST_STREAM from either side ends a stream.
func TestStreamsEndByReset(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.open(3)
		p.drain(0)
		_ = p.w.WriteRSTStream(1, http2.ErrCodeCancel)
		p.fromClient()
		p.state(Acknowledged)
		_ = p.w.WriteRSTStream(3, http2.ErrCodeNo)
		p.fromServer()
		p.state(Idle)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "RST_STREAM", "PING evenkeel")
	})
}

// Only the ACK of our own PING acknowledges the GOAWAY.
func TestOtherAcksProveNothing(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		_ = p.w.WritePing(true, proofData) // before ours
		p.fromClient()
		p.drain(0)
		_ = p.w.WritePing(true, [8]byte{1, 6, 1, 8, 0, 3, 3, 9})
		_ = p.w.WritePing(false, proofData)
		_ = p.w.WriteRawFrame(http2.FramePing, http2.FlagPingAck, 0, []byte(proofPayload+"!"))
		_ = p.w.WriteRawFrame(http2.FramePing, http2.FlagPingAck, 1, []byte(proofPayload))
		p.fromClient()
		p.state(Draining)
		_ = p.w.WritePing(true, proofData)
		ack := p.w.take()
		for i := range ack {
			p.state(Draining)
			p.w.Write(ack[i : i+1])
			p.fromClient()
		}
		p.state(Idle)
	})
}

// While the writer is stuck, Drain returns at once. The writer sends the GOAWAY later,
// in the right place.
func TestDrainDoesNotWaitForWriter(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.mu.Lock()
		p.paused = make(chan struct{})
		p.mu.Unlock()
		_ = p.w.WriteData(1, false, []byte("the frame that the client was waiting for"))
		p.fromServer() // lets the client return from ReadFrame and pause
		_ = p.w.WriteData(1, false, bytes.Repeat([]byte("x"), 1000))
		b := p.w.take()
		wrote := make(chan int)
		go func() {
			n, err := p.c.Write(b[:700]) // ends in mid-frame
			if err != nil {
				p.t.Error(err)
			}
			wrote <- n
			n, err = p.c.Write(b[700:])
			if err != nil {
				p.t.Error(err)
			}
			wrote <- n
		}()
		synctest.Wait()
		before := time.Now()
		p.drain(0)
		if time.Since(before) != 0 {
			p.t.Error("Drain blocked")
		}
		time.Sleep(time.Hour)
		p.got("DATA")
		close(p.paused)
		p.mu.Lock()
		p.paused = nil
		p.mu.Unlock()
		if n, m := <-wrote, <-wrote; n != 700 || m != len(b)-700 {
			p.t.Errorf("Write returned %d, %d, want %d, %d", n, m, 700, len(b)-700)
		}
		p.got("DATA", "DATA", "PING evenhold", "GOAWAY bye", "PING evenkeel")
		p.state(Acknowledged)
	})
}

// While our own frames are stuck, the server's writers wait for the lock. Virtual time
// goes on meanwhile.
func TestServerWaitsForStuckGoAway(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.mu.Lock()
		p.paused = make(chan struct{})
		p.mu.Unlock()
		_ = p.w.WriteData(1, false, []byte("x"))
		p.fromServer()
		p.drain(time.Minute)
		wrote := make(chan error, 2)
		for range 2 {
			b := newWire()
			_ = b.WriteSettingsAck()
			go func() {
				_, err := p.c.Write(b.take())
				wrote <- err
			}()
		}
		p.closedAfter(time.Minute, Forced)
		if err := <-wrote; err == nil {
			p.t.Error("a write to a closed connection succeeded")
		}
		<-wrote
		close(p.paused)
	})
}

func TestDrainingChannel(t *testing.T) {
	closed := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	inBubble(t, func(p *pair, _ bool) {
		early := p.c.Draining()
		if closed(early) || early != p.c.Draining() {
			p.t.Error("Draining is closed on an open connection, or returns two channels")
		}
		p.drain(0)
		if !closed(early) || !closed(p.c.Draining()) {
			p.t.Error("Draining is not closed after Drain")
		}
	})
	inBubble(t, func(p *pair, _ bool) {
		p.drain(0)
		if !closed(p.c.Draining()) {
			p.t.Error("Draining returns an open channel after Drain")
		}
	})
	inBubble(t, func(p *pair, _ bool) {
		early := p.c.Draining()
		_ = p.c.Close()
		if !closed(early) {
			p.t.Error("Draining is not closed after Close")
		}
	})
}

// Of many concurrent calls of Drain, one returns true.
func TestDrainOnce(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		var wg sync.WaitGroup
		yes := make(chan bool, 32)
		for range cap(yes) {
			wg.Go(func() { yes <- drainNow(p.c, "bye", 0) })
		}
		wg.Wait()
		close(yes)
		started := 0
		for y := range yes {
			if y {
				started++
			}
		}
		if started != 1 {
			p.t.Errorf("%d calls of Drain returned true, want 1", started)
		}
		p.got("GOAWAY bye", "PING evenkeel")
	})
}

// Debug data is cut to a length that every client must accept.
func TestDebugDataIsCut(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		if !drainNow(p.c, string(bytes.Repeat([]byte("x"), 1<<20)), 0) {
			p.t.Fatal("Drain returned false")
		}
		p.got("GOAWAY "+string(bytes.Repeat([]byte("x"), maxDebug)), "PING evenkeel")
	})
}
