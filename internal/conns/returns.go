package conns

import (
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// returnWindow is how long after a GOAWAY a new connection of the same key counts as
// its return: the 30 s for which resolvers may delay, and a little more.
const returnWindow = 45 * time.Second

// maxSettled bounds how far back a key's history counts: beyond, all of it counts half.
const maxSettled = 64

// Returns tell what came of the connections asked to leave for Even: how many there were,
// how many came back, and for how many the time to come back is over. Nothing is known
// yet of the rest.
type Returns struct{ Drained, Returned, Away uint64 }

// Returns returns the counts, in which those of the last 45 s are not all settled.
func (r *Registry) Returns() Returns {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.returns
}

// past is what came of a key's connections that were asked to leave.
type past struct {
	asked       time.Duration // the latest time
	even        bool          // and that one was for Even
	evens, rest fates
	// settled counts those whose fate is known, returned those that came back.
	settled, returned uint32
}

// fates counts the asks of a key that stand in the queue.
type fates struct {
	owed uint32 // it has not come back yet
	back uint32 // it has
}

func (p *past) of(even bool) *fates {
	if even {
		return &p.evens
	}
	return &p.rest
}

// settle notes one fate.
func (p *past) settle(returned bool) {
	p.settled++
	if returned {
		p.returned++
	}
	if p.settled > maxSettled {
		p.settled /= 2
		p.returned /= 2
	}
}

// owed: a new connection of this key would be a return.
func (k *keyState) owed() bool {
	return k.past != nil && k.past.evens.owed+k.past.rest.owed > 0
}

// futile is Info.Futile.
func (k *keyState) futile() int {
	p := k.past
	if p == nil || 10*p.returned < 9*p.settled {
		return 0
	}
	return int(p.returned) / max(1, int(k.serving))
}

// ask is one connection of a key, asked to leave.
type ask struct {
	at   time.Duration
	key  *keyState
	even bool
}

// askQueue holds the asks of the last returnWindow, the oldest first. The asks of a key
// that came back are its oldest: which of two connections a client opened anew cannot be
// told, and need not be.
type askQueue struct {
	asks []ask
	head int // those before are done
}

func (q *askQueue) push(a ask) {
	if q.head > len(q.asks)/2 {
		q.asks = slices.Delete(q.asks, 0, q.head)
		q.head = 0
	}
	q.asks = append(q.asks, a)
}

// pop returns the oldest ask if it is older than that.
func (q *askQueue) pop(before time.Duration) (a ask, ok bool) {
	if q.head == len(q.asks) {
		*q = askQueue{}
		return ask{}, false
	}
	a = q.asks[q.head]
	if a.at >= before {
		return ask{}, false
	}
	q.asks[q.head] = ask{}
	q.head++
	return a, true
}

// askLocked notes that a connection of the key was asked to leave.
func (r *Registry) askLocked(k *keyState, x *exit) {
	even := x.reason == reason.Even
	if k.past == nil {
		k.past = &past{}
	}
	k.past.asked, k.past.even = x.asked, even
	k.past.of(even).owed++
	r.asks.push(ask{at: x.asked, key: k, even: even})
	if even {
		r.returns.Drained++
	}
}

// returnLocked books a new connection of the key as a return if one is owed: of those
// asked for the latest reason first.
func (r *Registry) returnLocked(k *keyState) bool {
	if !k.owed() {
		return false
	}
	p, even := k.past, k.past.even
	if p.of(even).owed == 0 {
		even = !even
	}
	f := p.of(even)
	f.owed--
	f.back++
	p.settle(true)
	if even {
		r.returns.Returned++
	}
	return true
}

// Sweep gives up waiting for the clients that have not come back in time, and forgets
// those that have no connection left.
func (r *Registry) Sweep() {
	now := r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expireLocked(now)
}

// expireLocked settles the asks whose time to come back is over.
func (r *Registry) expireLocked(now time.Duration) {
	for {
		a, ok := r.asks.pop(now - returnWindow)
		if !ok {
			return
		}
		p := a.key.past
		f := p.of(a.even)
		if f.back > 0 {
			f.back--
			continue
		}
		f.owed--
		p.settle(false)
		if a.even {
			r.returns.Away++
		}
		r.forgetLocked(a.key)
	}
}
