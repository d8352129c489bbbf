package h2conn

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Many writers: one at a time, and nobody waits for ever.
func TestTurn(t *testing.T) {
	var l writeLock
	var wg sync.WaitGroup
	n := 0 // the race detector sees two at a time
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				l.lock()
				n++
				l.unlock()
				if l.tryLock() {
					n--
					n++
					l.unlock()
				}
			}
		})
	}
	wg.Wait()
	if l.queue() != nil {
		t.Error("there is nobody to wait for")
	}
	if n != 8*2000 || l.locked() || l.freed != nil {
		t.Errorf("%d turns, %+v", n, &l)
	}
}

// Whatever the moment at which a connection is asked to leave while a write ends: its
// GOAWAY is written, by the one or the other.
func TestLeaveWhileAWriteEnds(t *testing.T) {
	for i := range 20_000 {
		rec := newRecorder()
		c := New(&memConn{}, nil, rec)
		w := newWire()
		_ = w.WriteSettings()
		b := w.take()
		begun := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			close(begun)
			for range i % 50 {
				_, _ = c.Write(b)
			}
			_, _ = c.Write(b)
		})
		<-begun
		c.flushed(&wg, "bye")
		wg.Wait()
		if c.pending.Load() != 0 || !slices.Contains(rec.all(), "goaway ours=true") {
			t.Fatalf("round %d: %q was told", i, rec.all())
		}
		_ = c.Close()
	}
}

// The same moment, taken apart.
func TestLeaveBeforeTheTurnIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc := &memConn{}
		c := New(nc, nil, nil)
		w := newWire()
		_ = w.WriteSettings()
		writeSome(t, c, w.take(), 100)
		c.writeMu.lock()
		c.Drain("bye", 0)
		synctest.Wait() // its flush found the turn taken
		if !c.release() {
			t.Fatal("nobody writes the GOAWAY")
		}
		c.endWrite()
		if c.writeMu.locked() || !bytes.Contains(nc.out.Bytes(), []byte("bye")) {
			t.Error("not written")
		}
		_ = c.Close()
	})
}

// flushed is Leave with its goroutine counted.
func (c *Conn) flushed(wg *sync.WaitGroup, debug string) {
	c.mu.Lock()
	c.drainStateLocked().debug = debug
	c.pending.Or(pendingGoAway)
	c.moveLocked(Draining)
	c.mu.Unlock()
	wg.Go(c.flush)
}

// Waiting for the turn lets virtual time go on.
func TestTurnInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l writeLock
		l.lock()
		if l.tryLock() || !l.locked() {
			t.Error("taken twice")
		}
		time.AfterFunc(time.Hour, l.unlock)
		start := time.Now()
		l.lock()
		if took := time.Since(start); took != time.Hour {
			t.Errorf("had the turn after %v", took)
		}
		l.unlock()
	})
}
