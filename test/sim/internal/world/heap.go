package world

import "time"

// kind says what happens at an event; a and b are its subjects.
type kind uint8

const (
	evCall    kind = iota // a: index of World.calls
	evTick                // a: pod, b: its tick number
	evPoll                // a: pod
	evPolled              // a: pod
	evView                // a: pod, b: version
	evLook                // a: pod; a pod that looks at the membership at intervals
	evGate                // a: pod, b: number of the gate's set
	evAnswers             // a: pod, b: number of the question
	evProxy               // a: node, b: version
	evDial                // a: client, b: pod (spread) or -1
	evResolve             // a: client
	evClose               // a: connection, c: its serial
	evDrain               // a: connection, c: its serial
	evSample
)

// event is something that happens at a moment; those of one moment happen in the order in
// which they were made.
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

// heap is a heap of events with four children each: container/heap would box each event.
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

// pop takes the next event. There must be one.
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
