package world

import "time"

// kind is the kind of an event; the comments give the meaning of its fields a, b and c.
type kind uint8

const (
	evCall    kind = iota // a: index of World.calls
	evTick                // a: pod, b: its tick number
	evPoll                // a: pod, b: its starts
	evPolled              // a: pod
	evView                // a: pod, b: version
	evLook                // a: pod, b: its starts; it reads the membership at intervals
	evGate                // a: pod, b: number of the gate's set
	evAnswers             // a: pod, b: ID of the query
	evProxy               // a: node, b: version
	evDial                // a: client, b: pod (RoundRobin) or -1
	evResolve             // a: client
	evClose               // a: connection, c: its serial
	evDrain               // a: connection, c: its serial
	evEnd                 // a: client
	evSample
)

// event happens at a given time. Events of the same time happen in the order in which they
// were pushed.
type event struct {
	at   time.Duration
	seq  uint64
	c    uint64
	a, b int32
	kind kind
}

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && e.seq < f.seq
}

// heap is a 4-ary heap of events. container/heap would allocate an interface value per event.
type heap struct {
	all []event
	seq uint64
}

func (h *heap) push(e event) {
	h.seq++
	e.seq = h.seq
	h.all = append(h.all, e)
	i := len(h.all) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !h.all[i].before(&h.all[up]) {
			return
		}
		h.all[i], h.all[up] = h.all[up], h.all[i]
		i = up
	}
}

// pop removes and returns the next event. There must be one.
func (h *heap) pop() event {
	top := h.all[0]
	last := len(h.all) - 1
	h.all[0] = h.all[last]
	h.all = h.all[:last]
	h.down(0)
	return top
}

func (h *heap) down(i int) {
	for {
		least := i
		for child := 4*i + 1; child <= 4*i+4 && child < len(h.all); child++ {
			if h.all[child].before(&h.all[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.all[i], h.all[least] = h.all[least], h.all[i]
		i = least
	}
}
