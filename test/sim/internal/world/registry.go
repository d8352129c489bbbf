package world

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// conn is a connection or a free slot. It is small, since there may be a million. Its plan.Conn
// is in the infos of its pod.
type conn struct {
	serial           uint64 // 0: the slot is free
	client           int32
	pod              int32
	pos              int32 // in the pod's infos
	keyNext, keyPrev int32 // the neighbours in the list of the key; -1: none
}

// slotBits is the number of bits of a connection's ID that hold its slot. The rest is its
// serial number, which rises with time.
const slotBits = 24

func idOf(serial uint64, slot int32) uint64 { return serial<<slotBits | uint64(slot) }

func slotOf(id uint64) int32 { return int32(id & (1<<slotBits - 1)) }

// info returns the plan.Conn of a connection.
func (w *World) info(c *conn) *plan.Conn { return &w.pods[c.pod].infos[c.pos] }

// returnWindow is how long after a GOAWAY a new connection of the same key counts as its
// return. It is the constant of internal/conns.
const returnWindow = 45 * time.Second

// maxSettled is the number of settled drains at which both counts are halved, so that the past
// loses weight. It is the constant of internal/conns.
const maxSettled = 64

// drainCounts counts the drains of a key that are younger than returnWindow.
type drainCounts struct {
	pending  int32 // the client has not come back yet
	returned int32 // it has come back
}

// keyState is what a pod remembers of a key whose connections it has drained.
type keyState struct {
	serving, draining int32
	even, other       drainCounts
	settled, returned int32 // drains whose result is known, and those that ended in a return
	futileDrains      int32 // the FutileDrains of its connections
	latestEven        bool  // the latest drain was for evenness
}

func (k *keyState) of(even bool) *drainCounts {
	if even {
		return &k.even
	}
	return &k.other
}

func (k *keyState) pending() bool { return k.even.pending+k.other.pending > 0 }

func (k *keyState) settle(returned bool) {
	k.settled++
	if returned {
		k.returned++
	}
	if k.settled > maxSettled {
		k.settled /= 2
		k.returned /= 2
	}
}

// futile is how often each connection was drained and came back. It is 0 as long as more than
// one in ten stayed away.
func (k *keyState) futile() int32 {
	if 10*k.returned < 9*k.settled {
		return 0
	}
	return k.returned / max(1, k.serving)
}

// recentDrain is a drain whose returnWindow ends at due.
type recentDrain struct {
	due  time.Duration
	key  int32
	even bool
}

// accept opens a connection of client on p.
func (w *World) accept(client int32, p *pod) int32 {
	slot := w.freeSlot()
	w.serial++
	cl := &w.clients[client]
	c := &w.conns[slot]
	*c = conn{serial: w.serial, client: client, pod: p.idx, pos: int32(len(p.infos)), keyPrev: -1, keyNext: w.heads[cl.key]}
	if c.keyNext >= 0 {
		w.conns[c.keyNext].keyPrev = slot
	}
	w.heads[cl.key] = slot
	info := plan.Conn{ID: idOf(w.serial, slot), Key: w.keyAt(p, cl.key), Opened: w.now, Weight: 1, Rate: float64(cl.rate)}
	p.accepted++
	if cl.long && cl.flying == 0 {
		info.Streams = 1
	}
	p.serving++
	w.m.arrived(p, w.now)
	k := p.keys[cl.key]
	if k != nil {
		k.serving++
		info.Returned = p.recordReturn(k)
	}
	p.infos = append(p.infos, info)
	p.sum += info.Weight
	if k != nil {
		w.setFutile(p, cl.key, k)
	}
	return slot
}

// setFutile updates FutileDrains of the key's connections.
func (w *World) setFutile(p *pod, key int32, k *keyState) {
	n := k.futile()
	if n == 0 && k.futileDrains == 0 {
		return
	}
	k.futileDrains = n
	for i := w.heads[key]; i >= 0; i = w.conns[i].keyNext {
		if c := &w.conns[i]; c.pod == p.idx {
			p.infos[c.pos].FutileDrains = int(n)
		}
	}
}

func (w *World) freeSlot() int32 {
	if n := len(w.free); n > 0 {
		slot := w.free[n-1]
		w.free = w.free[:n-1]
		return slot
	}
	w.conns = append(w.conns, conn{})
	return int32(len(w.conns) - 1)
}

// recordReturn counts a new connection as a return, if a drain of its key is pending. It takes
// a drain of the latest reason first.
func (p *pod) recordReturn(k *keyState) bool {
	if !k.pending() {
		return false
	}
	even := k.latestEven
	if k.of(even).pending == 0 {
		even = !even
	}
	f := k.of(even)
	f.pending--
	f.returned++
	k.settle(true)
	if even {
		p.returns.Returned++
	}
	return true
}

// markDraining records that a connection is draining.
func (w *World) markDraining(slot int32, why reason.Reason) {
	c := &w.conns[slot]
	p := w.pods[c.pod]
	key := w.clients[c.client].key
	k := w.keyOn(p, key)
	w.info(c).Draining = true
	w.takeOff(slot)
	p.sum -= w.info(c).Weight
	p.serving--
	k.serving--
	k.draining++
	even := why == reason.Even
	k.latestEven = even
	k.of(even).pending++
	if even {
		p.returns.Drained++
	}
	p.recent = append(p.recent, recentDrain{w.now + returnWindow, key, even})
	w.setFutile(p, key, k)
}

// keyOn returns the pod's state of a key. If there is none, it counts the key's connections.
func (w *World) keyOn(p *pod, key int32) *keyState {
	k := p.keys[key]
	if k == nil {
		k = &keyState{}
		k.serving, k.draining = w.countKey(p, key)
		p.keys[key] = k
	}
	return k
}

func (w *World) countKey(p *pod, key int32) (serving, draining int32) {
	for i := w.heads[key]; i >= 0; i = w.conns[i].keyNext {
		if c := &w.conns[i]; c.pod == p.idx && w.info(c).Draining {
			draining++
		} else if c.pod == p.idx {
			serving++
		}
	}
	return serving, draining
}

// sweep settles the drains whose returnWindow is over.
func (w *World) sweep(p *pod) {
	for len(p.recent) > 0 && p.recent[0].due < w.now {
		d := p.recent[0]
		p.recent = p.recent[1:]
		k := p.keys[d.key]
		f := k.of(d.even)
		if f.returned > 0 {
			f.returned--
			p.forget(d.key, k)
			continue
		}
		f.pending--
		k.settle(false)
		if d.even {
			p.returns.Away++
		}
		w.setFutile(p, d.key, k)
		p.forget(d.key, k)
	}
}

// forget drops the state of a key without connections and without recent drains.
func (p *pod) forget(key int32, k *keyState) {
	if k.serving+k.draining == 0 && !k.pending() && k.even.returned+k.other.returned == 0 {
		delete(p.keys, key)
	}
}

// remove closes a connection and frees its slot.
func (w *World) remove(slot int32) {
	w.land(slot)
	c := &w.conns[slot]
	p := w.pods[c.pod]
	key := w.clients[c.client].key
	draining, weight := w.info(c).Draining, w.info(c).Weight
	last := len(p.infos) - 1
	p.infos[c.pos] = p.infos[last]
	w.conns[slotOf(p.infos[last].ID)].pos = c.pos
	p.infos = p.infos[:last]
	w.unlink(c, key)
	if !draining {
		p.serving--
		p.sum -= weight
	}
	if k := p.keys[key]; k != nil {
		if draining {
			k.draining--
		} else {
			k.serving--
		}
		w.setFutile(p, key, k)
		p.forget(key, k)
	}
	*c = conn{}
	w.free = append(w.free, slot)
}

// unlink takes c out of the list of its key.
func (w *World) unlink(c *conn, key int32) {
	if c.keyPrev >= 0 {
		w.conns[c.keyPrev].keyNext = c.keyNext
	} else {
		w.heads[key] = c.keyNext
	}
	if c.keyNext >= 0 {
		w.conns[c.keyNext].keyPrev = c.keyPrev
	}
}

func (w *World) closeIf(slot int32, serial uint64) {
	c := &w.conns[slot]
	if c.serial != serial {
		return
	}
	client, pod, waits := c.client, c.pod, w.waits(slot)
	w.remove(slot)
	if waits {
		w.reconnect(client, pod)
	}
}
