package conns

import (
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// returnWindow is how long after a drain a new connection of the same key counts as its
// return: the 30 s for which resolvers may keep an answer, and a little more.
const returnWindow = 45 * time.Second

// maxSettled bounds the history of a key: beyond it, the past counts half.
const maxSettled = 64

// Returns is the outcome of the connections drained for Even: their number, the number
// that came back, and the number that stayed away for the whole time to come back. The
// outcome of the rest is still open.
type Returns struct{ Drained, Returned, Away uint64 }

// Returns returns the counts. The outcome of drains within the last 45 s may be open.
func (r *Registry) Returns() Returns {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.returns
}

// history is the outcome of the drained connections of a key.
type history struct {
	latest     time.Duration // when a connection was drained last
	latestEven bool          // that drain was for Even
	even, rest outcomes      // of the drains in the queue: for Even, and for other reasons
	tentative  uint32        // connections that came back and have no stream yet
	claims     uint16        // counts how often tentative was cleared, since no drain was pending
	// settled is the number of drains whose outcome is known, returned of those that came
	// back.
	settled, returned uint32
}

// outcomes counts the drains of a key that are still in the queue.
type outcomes struct {
	pending  uint32 // the client has not come back yet
	returned uint32 // the client has come back
}

func (h *history) of(even bool) *outcomes {
	if even {
		return &h.even
	}
	return &h.rest
}

// lapse ends the claims of the connections that came back, once no drain is left to claim.
func (h *history) lapse() {
	if h.even.pending+h.rest.pending == 0 && h.tentative > 0 {
		h.tentative = 0
		h.claims++
	}
}

// settle adds one known outcome.
func (h *history) settle(returned bool) {
	h.settled++
	if returned {
		h.returned++
	}
	if h.settled > maxSettled {
		h.settled /= 2
		h.returned /= 2
	}
}

// pending reports whether a new connection of this key would be a return.
func (k *keyState) pending() bool {
	h := k.history
	return h != nil && h.even.pending+h.rest.pending > h.tentative
}

// futileDrains is Info.FutileDrains.
func (k *keyState) futileDrains() int {
	h := k.history
	if h == nil || 10*h.returned < 9*h.settled {
		return 0
	}
	return int(h.returned) / max(1, int(k.serving))
}

// drained is one drained connection of a key.
type drained struct {
	at   time.Duration
	key  *keyState
	even bool
}

// drainQueue holds the drains of the last returnWindow, the oldest first. A return is
// credited to the oldest drain of its key: nobody can know which of two connections a
// client replaced, and it makes no difference.
type drainQueue struct {
	drains []drained
	head   int // index of the oldest drain that is not settled
}

func (q *drainQueue) push(d drained) {
	if q.head > len(q.drains)/2 {
		q.drains = slices.Delete(q.drains, 0, q.head)
		q.head = 0
	}
	q.drains = append(q.drains, d)
}

// pop returns the oldest drain if it was before the given time.
func (q *drainQueue) pop(before time.Duration) (d drained, ok bool) {
	if q.head == len(q.drains) {
		*q = drainQueue{}
		return drained{}, false
	}
	d = q.drains[q.head]
	if d.at >= before {
		return drained{}, false
	}
	q.drains[q.head] = drained{}
	q.head++
	return d, true
}

// noteDrainLocked notes that a connection of the key was drained.
func (r *Registry) noteDrainLocked(k *keyState, d *drainState) {
	even := d.reason == reason.Even
	if k.history == nil {
		k.history = &history{}
	}
	k.history.latest, k.history.latestEven = d.since, even
	k.history.of(even).pending++
	r.drains.push(drained{at: d.since, key: k, even: even})
	if even {
		r.returns.Drained++
	}
}

// noteReturnLocked judges by the use of a connection whether its client has come back. With a
// stream it has. Ready for one, it has come back as far as its own connections go: so does an
// idle round_robin client, which redials at once. But it counts for Returns and for the past
// only with a stream. A health checker never comes back.
func (c *Conn) noteReturnLocked() {
	k := c.key.Load()
	h := k.history
	if h == nil || c.drain != nil {
		return
	}
	since := c.opened >= h.latest // a connection from before the drain has not come back
	switch c.use {
	case h2conn.Ready:
		if k.pending() && !c.returned && since {
			c.returned, c.tentative, c.claim = true, true, h.claims
			h.tentative++
		}
	case h2conn.InUse:
		if c.tentative || !c.returned && since {
			c.endTentativeLocked()
			c.returned = c.reg.returnLocked(k) || c.returned
		}
	default:
		c.endTentativeLocked()
		c.returned = false
	}
}

// endTentativeLocked ends the wait for the first stream of a connection that came back.
func (c *Conn) endTentativeLocked() {
	if !c.tentative {
		return
	}
	c.tentative = false
	if h := c.key.Load().history; c.claim == h.claims {
		h.tentative--
	}
}

// returnLocked counts a connection of the key as a return if one is pending. Drains of
// the latest kind come first.
func (r *Registry) returnLocked(k *keyState) bool {
	if !k.pending() {
		return false
	}
	h, even := k.history, k.history.latestEven
	if h.of(even).pending == 0 {
		even = !even
	}
	o := h.of(even)
	o.pending--
	o.returned++
	h.lapse()
	h.settle(true)
	if even {
		r.returns.Returned++
	}
	return true
}

// Sweep stops waiting for clients that have not come back in time, and drops the keys of
// those without a connection.
func (r *Registry) Sweep() {
	now := r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expireLocked(now)
}

// expireLocked settles the drains whose time to come back is over.
func (r *Registry) expireLocked(now time.Duration) {
	for {
		d, ok := r.drains.pop(now - returnWindow)
		if !ok {
			return
		}
		h := d.key.history
		o := h.of(d.even)
		if o.returned > 0 {
			o.returned--
			continue
		}
		o.pending--
		h.lapse()
		h.settle(false)
		if d.even {
			r.returns.Away++
		}
		r.forgetLocked(d.key)
	}
}
