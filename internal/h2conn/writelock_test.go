package h2conn

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Of many writers, one holds the lock at a time, and none waits forever.
func TestWriteLock(t *testing.T) {
	var l writeLock
	var wg sync.WaitGroup
	n := 0 // the race detector reports two holders at a time
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
		t.Error("queue of a free lock returned a channel to wait on")
	}
	if n != 8*2000 || l.locked() || l.freed != nil {
		t.Errorf("locked %d times, want %d; the lock is %+v", n, 8*2000, &l)
	}
}

// At whatever moment Drain comes while a write ends, one of the two writes the GOAWAY.
func TestDrainWhileWriteEnds(t *testing.T) {
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
		c.drainIn(&wg, "bye")
		wg.Wait()
		if c.pending.Load() != 0 || !slices.Contains(rec.all(), "goaway ours=true") {
			t.Fatalf("round %d: no GOAWAY; observer calls: %q", i, rec.all())
		}
		_ = c.Close()
	}
}

// This is the same moment, step by step.
func TestDrainBeforeWriteLockIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc := &memConn{}
		c := New(nc, nil, nil)
		w := newWire()
		_ = w.WriteSettings()
		writeSome(t, c, w.take(), 100)
		c.writeMu.lock()
		drainNow(c, "bye", 0)
		synctest.Wait() // the flush of Drain has found the lock held
		if !c.release() {
			t.Fatal("release did not take the lock back to write the GOAWAY")
		}
		c.endWrite()
		if c.writeMu.locked() || !bytes.Contains(nc.out.Bytes(), []byte("bye")) {
			t.Error("the lock is held, or the GOAWAY was not written")
		}
		_ = c.Close()
	})
}

// drainIn does what Drain does, with its goroutine in wg.
func (c *Conn) drainIn(wg *sync.WaitGroup, debug string) {
	c.mu.Lock()
	c.drainStateLocked().debug = debug
	c.pending.Or(pendingGoAway)
	c.moveLocked(Draining)
	c.mu.Unlock()
	wg.Go(c.flush)
}

// Virtual time goes on while a goroutine waits for the lock.
func TestWriteLockInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l writeLock
		l.lock()
		if l.tryLock() || !l.locked() {
			t.Error("the lock was locked twice, or reports that it is free")
		}
		time.AfterFunc(time.Hour, l.unlock)
		start := time.Now()
		l.lock()
		if took := time.Since(start); took != time.Hour {
			t.Errorf("locked after %v, want %v", took, time.Hour)
		}
		l.unlock()
	})
}
