package h2conn

import (
	"sync"
	"sync/atomic"
)

// turn is held by who writes. It is a mutex that can be asked whether it is held, that
// costs one atomic operation to take and one to give back, and that is waited for in a
// channel: the one before may be stuck for long, and a goroutine that waits in a channel
// lets the virtual time of a test go on.
type turn struct {
	held   atomic.Bool
	wanted atomic.Bool // somebody waits

	mu    sync.Mutex
	freed chan struct{} // closed when the turn comes free; nil if nobody waits
}

// try takes the turn if it is free.
func (t *turn) try() bool { return t.held.CompareAndSwap(false, true) }

// busy tells whether somebody holds the turn.
func (t *turn) busy() bool { return t.held.Load() }

// take takes the turn, and waits for it if it must.
func (t *turn) take() {
	if !t.try() {
		t.wait()
	}
}

func (t *turn) wait() {
	for !t.try() {
		if freed := t.queue(); freed != nil {
			<-freed
		}
	}
}

// queue returns the channel to wait in. wanted is set before the turn is looked at
// again, and give looks at wanted after it has given the turn back: one of the two sees
// the other.
func (t *turn) queue() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted.Store(true)
	if !t.busy() {
		return nil
	}
	if t.freed == nil {
		t.freed = make(chan struct{})
	}
	return t.freed
}

// give gives the turn back. All who wait try again.
func (t *turn) give() {
	t.held.Store(false)
	if t.wanted.Load() {
		t.wake()
	}
}

func (t *turn) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted.Store(false)
	if t.freed != nil {
		close(t.freed)
		t.freed = nil
	}
}
