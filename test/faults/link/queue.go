package link

import (
	"container/heap"
	"time"
)

// packet is one that arrives at a time.
type packet struct {
	at   time.Time
	data []byte
}

// numbered tells packets apart that arrive at the same time: the first comes first.
type numbered struct {
	packet
	n int
}

// queue is a heap of packets, the next one first.
type queue struct {
	packets []numbered
	added   int
}

func (q *queue) add(p packet) {
	q.added++
	heap.Push(q, numbered{p, q.added})
}

func (q *queue) Len() int      { return len(q.packets) }
func (q *queue) Swap(i, j int) { q.packets[i], q.packets[j] = q.packets[j], q.packets[i] }
func (q *queue) Push(p any)    { q.packets = append(q.packets, p.(numbered)) } //nolint:forcetypeassert // see deliver

func (q *queue) Less(i, j int) bool {
	a, b := q.packets[i], q.packets[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.n < b.n
}

func (q *queue) Pop() any {
	last := q.packets[len(q.packets)-1]
	q.packets[len(q.packets)-1] = numbered{}
	q.packets = q.packets[:len(q.packets)-1]
	return last
}
