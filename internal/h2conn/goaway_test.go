package h2conn

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// A connection that grpc-go drains is not ours to close.
func TestServerGoAwayFirst(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		draining := p.c.Draining()
		_ = p.w.WriteGoAway(1<<32-1, http2.ErrCodeNo, []byte("max_age"))
		_ = p.w.WritePing(false, [8]byte{1, 6, 1, 8, 0, 3, 3, 9})
		p.fromServer()
		<-draining
		if drainNow(p.c, "bye", time.Second) {
			p.t.Error("Drain returned true after a GOAWAY of the server")
		}
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		p.fromServer()
		p.end(1)
		time.Sleep(time.Hour)
		p.state(Draining)
		p.got("GOAWAY max_age", "PING \x01\x06\x01\b\x00\x03\x03\t", "GOAWAY last=1 NO_ERROR", "HEADERS")
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(p.t, "goaway ours=false", "closed: server")
		p.walked(Open, Draining, Closed)
	})
}

// The server's GOAWAYs pass through after ours.
func TestServerGoAwaySecond(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.drain(0)
		_ = p.w.WriteGoAway(1<<32-1, http2.ErrCodeNo, []byte("max_age"))
		p.fromServer()
		p.open(3) // refused by the next one
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		p.fromServer()
		p.open(5) // refused, too
		if open, opened := p.c.Streams(); open != 1 || opened != 3 {
			p.t.Errorf("%d streams open, %d ever opened, want 1, 3", open, opened)
		}
		p.end(1)
		p.state(Idle)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "GOAWAY max_age", "GOAWAY last=1 NO_ERROR", "HEADERS", "PING evenkeel")
		p.rec.want(p.t, "goaway ours=true")
		p.walked(Open, Acknowledged, Idle)
	})
}

// If Drain comes in the middle of the server's own GOAWAY, ours is not written. The
// grace still applies.
func TestDrainDuringServerGoAway(t *testing.T) {
	for _, last := range []uint32{1, 1<<32 - 1} {
		inBubble(t, func(p *pair, _ bool) {
			p.open(1)
			_ = p.w.WriteGoAway(last, http2.ErrCodeNo, nil)
			b := p.w.take()
			p.w.Write(b[:10])
			p.fromServer()
			p.drain(time.Minute)
			p.w.Write(b[10:])
			p.fromServer()
			_ = p.w.WriteSettingsAck()
			p.fromServer()
			p.state(Draining)
			p.mu.Lock()
			if n := len(p.frames); n != 3 { // SETTINGS, its GOAWAY, SETTINGS
				p.t.Errorf("client got %q, want 3 frames", p.frames)
			}
			p.mu.Unlock()
			p.closedAfter(time.Minute, Forced)
			p.rec.want(p.t, "goaway ours=false", "closed: forced")
			p.walked(Open, Draining, Closed)
		})
	}
}

// AfterDraining calls each function once, whether the drain or the registration came first,
// and none that was stopped.
func TestAfterDraining(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		var before, stopped, after atomic.Int32
		p.c.AfterDraining(func() { before.Add(1) })
		stop := p.c.AfterDraining(func() { stopped.Add(1) })
		synctest.Wait()
		if before.Load() != 0 || !stop() {
			t.Error("a function was called before the drain")
		}
		p.drain(0)
		p.c.AfterDraining(func() { after.Add(1) })
		p.end(1)
		_ = p.c.Close()
		synctest.Wait()
		if got := [3]int32{before.Load(), stopped.Load(), after.Load()}; got != [3]int32{1, 0, 1} {
			t.Errorf("functions were called %v times, want 1 0 1", got)
		}
	})
}
