package world

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// conn is one connection, or a free place for one. There may be a million. What planning
// sees of it is in its pod's infos.
type conn struct {
	serial           uint64 // 0: a free place
	client           int32
	pod              int32
	pos              int32 // in the pod's infos
	keyNext, keyPrev int32 // others of this key; -1: none
}

// slotBits is how much of a connection's ID is its place; the rest rises with time.
const slotBits = 24

func idOf(serial uint64, slot int32) uint64 { return serial<<slotBits | uint64(slot) }

func slotOf(id uint64) int32 { return int32(id & (1<<slotBits - 1)) }

// info is what planning sees of a connection.
func (w *World) info(c *conn) *plan.Conn { return &w.pods[c.pod].infos[c.pos] }

// returnWindow is that of internal/conns: how long after a GOAWAY a new connection of the
// same key counts as its return.
const returnWindow = 45 * time.Second

// maxSettled is that of internal/conns: beyond, the past counts half.
const maxSettled = 64

// fates counts the asks of a key that are younger than returnWindow.
type fates struct {
	owed int32 // it has not come back yet
	back int32 // it has
}

// keyState is what a pod knows of a client that it has asked to leave.
type keyState struct {
	serving, leaving  int32
	evens, rest       fates
	settled, returned int32 // whose fate is known, and those of them that came back
	told              int32 // planning's Futile
	lastEven          bool  // the latest was asked for evenness
}

func (k *keyState) of(even bool) *fates {
	if even {
		return &k.evens
	}
	return &k.rest
}

func (k *keyState) owed() bool { return k.evens.owed+k.rest.owed > 0 }

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

// futile is how often in a row the client was asked and came back: 0 as long as one in ten
// stayed away.
func (k *keyState) futile() int32 {
	if 10*k.returned < 9*k.settled {
		return 0
	}
	return k.returned / max(1, k.serving)
}

// asking is a question of the past to a client, whose time is over at due.
type asking struct {
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
	info := plan.Conn{ID: idOf(w.serial, slot), Key: w.keys[cl.key], Opened: w.now, Weight: 1}
	if cl.long {
		info.Streams = 1
	}
	p.serving++
	k := p.keys[cl.key]
	if k != nil {
		k.serving++
		info.Returned = p.bookReturn(k)
	}
	p.infos = append(p.infos, info)
	p.sum += info.Weight
	if k != nil {
		w.setFutile(p, cl.key, k)
	}
	return slot
}

// setFutile tells planning what is known of a client.
func (w *World) setFutile(p *pod, key int32, k *keyState) {
	n := k.futile()
	if n == 0 && k.told == 0 {
		return
	}
	k.told = n
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

// bookReturn books a new connection as a return if one is owed: of those asked for the
// latest reason first.
func (p *pod) bookReturn(k *keyState) bool {
	if !k.owed() {
		return false
	}
	even := k.lastEven
	if k.of(even).owed == 0 {
		even = !even
	}
	f := k.of(even)
	f.owed--
	f.back++
	k.settle(true)
	if even {
		p.returns.Returned++
	}
	return true
}

// markDraining books that a connection was asked to leave.
func (w *World) markDraining(slot int32, why reason.Reason) {
	c := &w.conns[slot]
	p := w.pods[c.pod]
	key := w.clients[c.client].key
	k := w.keyOn(p, key)
	w.info(c).Draining = true
	p.sum -= w.info(c).Weight
	p.serving--
	k.serving--
	k.leaving++
	even := why == reason.Even
	k.lastEven = even
	k.of(even).owed++
	if even {
		p.returns.Drained++
	}
	p.askings = append(p.askings, asking{w.now + returnWindow, key, even})
	w.setFutile(p, key, k)
}

// keyOn returns the pod's state of a key, made from its connections if there is none.
func (w *World) keyOn(p *pod, key int32) *keyState {
	k := p.keys[key]
	if k == nil {
		k = &keyState{}
		k.serving, k.leaving = w.countKey(p, key)
		p.keys[key] = k
	}
	return k
}

func (w *World) countKey(p *pod, key int32) (serving, leaving int32) {
	for i := w.heads[key]; i >= 0; i = w.conns[i].keyNext {
		if c := &w.conns[i]; c.pod == p.idx && w.info(c).Draining {
			leaving++
		} else if c.pod == p.idx {
			serving++
		}
	}
	return serving, leaving
}

// sweep settles the asks whose time to come back is over.
func (w *World) sweep(p *pod) {
	for len(p.askings) > 0 && p.askings[0].due < w.now {
		a := p.askings[0]
		p.askings = p.askings[1:]
		k := p.keys[a.key]
		f := k.of(a.even)
		if f.back > 0 {
			f.back--
			p.forget(a.key, k)
			continue
		}
		f.owed--
		k.settle(false)
		if a.even {
			p.returns.Away++
		}
		w.setFutile(p, a.key, k)
		p.forget(a.key, k)
	}
}

// forget drops a key of which nothing is left, no ask in the queue either.
func (p *pod) forget(key int32, k *keyState) {
	if k.serving+k.leaving == 0 && !k.owed() && k.evens.back+k.rest.back == 0 {
		delete(p.keys, key)
	}
}

// remove takes a connection out of the world.
func (w *World) remove(slot int32) {
	c := &w.conns[slot]
	p := w.pods[c.pod]
	key := w.clients[c.client].key
	leaving, weight := w.info(c).Draining, w.info(c).Weight
	last := len(p.infos) - 1
	p.infos[c.pos] = p.infos[last]
	w.conns[slotOf(p.infos[last].ID)].pos = c.pos
	p.infos = p.infos[:last]
	w.unlink(c, key)
	if !leaving {
		p.serving--
		p.sum -= weight
	}
	if k := p.keys[key]; k != nil {
		if leaving {
			k.leaving--
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
	if w.conns[slot].serial == serial {
		w.remove(slot)
	}
}
