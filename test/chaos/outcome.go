package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// outcome is how an RPC ended.
type outcome int

const (
	answered outcome = iota
	timedOut         // by the client's own deadline
	canceled         // by the client itself
	broken           // its connection was reset
	lost             // it failed and nothing explains that
	wrong            // it ended well, but with a wrong answer or without being executed
	outcomes         // how many there are
)

// keptLost is how many lost RPCs are described.
const keptLost = 20

// outcomeOf explains how an RPC ended. own is the context of a deadline or a cancellation
// of its own, or nil. reset reports whether its connection was reset. Nothing else explains
// a failure.
//
//	error                 own context   connection   outcome
//	none                  any           any          answered
//	a wrong answer        any           any          wrong
//	Deadline or Canceled  over          any          timedOut or canceled
//	any                   any           reset        broken
//	any                   any           not reset    lost
func outcomeOf(err error, own context.Context, reset bool) outcome {
	code := status.Code(err)
	switch {
	case err == nil:
		return answered
	case errors.Is(err, errWrong):
		return wrong
	case own != nil && own.Err() != nil && (code == codes.DeadlineExceeded || code == codes.Canceled):
		if errors.Is(own.Err(), context.DeadlineExceeded) {
			return timedOut
		}
		return canceled
	case reset:
		return broken
	}
	return lost
}

// tally counts outcomes.
type tally struct {
	counts  [outcomes]atomic.Uint64
	byKind  []atomic.Uint64 // as in kinds
	mu      sync.Mutex
	details []string
}

func newTally() *tally { return &tally{byKind: make([]atomic.Uint64, len(kinds))} }

// finish books how an RPC ended.
func (t *tally) finish(k int, r *rpc, err error, ledger *ledger) {
	l, _ := r.peer.LocalAddr.(*line)
	o := outcomeOf(err, r.own, l != nil && l.reset.Load())
	executed := ledger.executed(r.id)
	if o == answered && !executed {
		o, err = wrong, fmt.Errorf("%w: no handler was called", errWrong)
	}
	if o == answered && l != nil && !l.used.Load() {
		l.used.Store(true)
	}
	t.counts[o].Add(1)
	t.byKind[k].Add(1)
	if o == lost || o == wrong {
		t.describe(fmt.Sprintf("RPC %d (%s), executed: %t, on connection %v: %v", r.id, kinds[k].name, executed, r.peer.LocalAddr, err))
	}
}

func (t *tally) describe(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.details) < keptLost {
		t.details = append(t.details, text)
	}
}

func (t *tally) of(o outcome) uint64 { return t.counts[o].Load() }

// total returns how many RPCs have ended.
func (t *tally) total() (n uint64) {
	for i := range t.counts {
		n += t.counts[i].Load()
	}
	return n
}
