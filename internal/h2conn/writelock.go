package h2conn

import (
	"sync"
	"sync/atomic"
)

// turn is held by who writes. It is a mutex that can be asked whether it is held, that
// costs one atomic operation to take and one to give back, and that is waited for in a
// channel: the one before may be stuck for long, and a goroutine that waits in a channel
// lets the virtual time of a test go on.
type writeLock struct {
	held    atomic.Bool
	waiting atomic.Bool // somebody waits

	mu    sync.Mutex
	freed chan struct{} // closed when the turn comes free; nil if nobody waits
}

// try takes the turn if it is free.
func (l *writeLock) tryLock() bool { return l.held.CompareAndSwap(false, true) }

// busy tells whether somebody holds the turn.
func (l *writeLock) locked() bool { return l.held.Load() }

// take takes the turn, and waits for it if it must.
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

// queue returns the channel to wait in. wanted is set before the turn is looked at
// again, and give looks at wanted after it has given the turn back: one of the two sees
// the other.
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

// give gives the turn back. All who wait try again.
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
