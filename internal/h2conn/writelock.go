package h2conn

import (
	"sync"
	"sync/atomic"
)

// writeLock serializes writers. Unlike a sync.Mutex, it can report whether it is
// held. Locking it costs one atomic operation, and so does unlocking it.
//
// Its waiters block on a channel, since a writer may be stuck for long: a goroutine
// that waits on a channel lets the virtual time of a test go on.
type writeLock struct {
	held    atomic.Bool
	waiting atomic.Bool // there may be waiters

	mu    sync.Mutex
	freed chan struct{} // closed at the next unlock; nil if nobody waits
}

// tryLock locks l if it is free, and reports whether it did.
func (l *writeLock) tryLock() bool { return l.held.CompareAndSwap(false, true) }

// locked reports whether l is held.
func (l *writeLock) locked() bool { return l.held.Load() }

// lock locks l, waiting until it is free.
func (l *writeLock) lock() {
	if !l.tryLock() {
		l.wait()
	}
}

func (l *writeLock) wait() {
	for !l.tryLock() {
		if freed := l.queue(); freed != nil {
			<-freed
		}
	}
}

// queue returns the channel to wait on, or nil if l is free by now. It sets waiting
// before it checks held; unlock clears held before it checks waiting. So at least
// one of the two sees the other.
func (l *writeLock) queue() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.Store(true)
	if !l.locked() {
		return nil
	}
	if l.freed == nil {
		l.freed = make(chan struct{})
	}
	return l.freed
}

// unlock releases l. All waiters then try again.
func (l *writeLock) unlock() {
	l.held.Store(false)
	if l.waiting.Load() {
		l.wake()
	}
}

func (l *writeLock) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.Store(false)
	if l.freed != nil {
		close(l.freed)
		l.freed = nil
	}
}
