package conns

import (
	"maps"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Info is one connection at one moment, as the planner needs it.
type Info struct {
	// ID is unique in the registry and rises with time.
	ID uint64
	// Key names the client.
	Key string
	// Opened is when the connection was accepted, as time since the registry's epoch.
	Opened time.Duration
	// Returned reports whether the client opened it after a drain of its key: it came back.
	Returned bool
	// Draining reports whether it has been drained.
	Draining bool
	// Named reports whether SetKey set its key.
	Named bool
	// Streams is the number of streams in flight, StreamsOpened of those ever opened.
	Streams       int
	StreamsOpened uint64
	// RequestRate is the number of streams that it opens per second, over about the last
	// 30 s. MeanStreams is the number in flight, over about the last 10 s. Both are as of
	// the last Sample, and 0 before the first.
	RequestRate, MeanStreams float64
	// Weight is its part of Loads, as the function given to Sample returned it; 1 before.
	Weight float64
	// FutileDrains is the number of drains after which its client came back here, per
	// connection that the client has here now. It is 0 if more than one in ten stayed away.
	FutileDrains int
}

// Totals are the registry's sums.
type Totals struct {
	Connections, Draining, Keys int
	// Streams is the number of streams in flight: now, from Totals; at the last Sample,
	// from Brief.
	Streams int
	// Opened is the number of connections ever tracked.
	Opened uint64
	// Lost is the number of connections whose frames could not be followed to the end.
	Lost    uint64
	GoAways map[reason.Reason]uint64
	Closed  map[h2conn.How]uint64
}

// Each calls f for every live connection. f must not call the registry.
func (r *Registry) Each(f func(*Info)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var i Info
	for _, c := range r.list {
		c.infoLocked(&i)
		f(&i)
	}
}

func (c *Conn) infoLocked(i *Info) {
	*i = Info{
		ID: c.id, Key: c.key.key, Opened: c.opened, Returned: c.returned, Draining: c.drain != nil,
		RequestRate: c.load.requests, MeanStreams: c.load.streams, Weight: c.load.weight,
		FutileDrains: c.key.futileDrains(), Named: c.named,
	}
	i.Streams, i.StreamsOpened = c.h2.Streams()
}

// Pick returns the live connections with the given IDs, in the order of ids, without those
// that are closed. It walks the list, which costs a round less than the Each before it. A
// map by ID would cost some 30 bytes per connection for its whole life.
func (r *Registry) Pick(ids []uint64) []*Conn {
	want := make(map[uint64]int, len(ids))
	for i, id := range ids {
		want[id] = i
	}
	found := make([]*Conn, len(ids))
	r.mu.Lock()
	for _, c := range r.list {
		if i, ok := want[c.id]; ok {
			found[i] = c
		}
	}
	r.mu.Unlock()
	out := found[:0]
	for _, c := range found {
		if c != nil {
			out = append(out, c)
		}
	}
	return out
}

// Serving returns every live connection that is not draining.
func (r *Registry) Serving() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Conn, 0, len(r.list)-r.draining)
	for _, c := range r.list {
		if c.drain == nil {
			out = append(out, c)
		}
	}
	return out
}

// EachKey calls f for every key with the number of its connections that are not draining,
// until f returns false. f must not call the registry.
func (r *Registry) EachKey(f func(key string, serving int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.keys {
		if k.serving > 0 && !f(k.key, int(k.serving)) {
			return
		}
	}
}

// Slow returns the number of live connections that were drained longer than d ago: they
// have long streams, or clients that do not acknowledge.
func (r *Registry) Slow(d time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining == 0 {
		return 0
	}
	n, before := 0, r.Now()-d
	for _, c := range r.list {
		if c.drain != nil && c.drain.since <= before {
			n++
		}
	}
	return n
}

// Lost returns the number of connections whose frames could not be followed to the end.
func (r *Registry) Lost() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// Totals returns the exact sums, for which it visits every connection.
func (r *Registry) Totals() Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.briefLocked()
	t.Streams = 0
	for _, c := range r.list {
		open, _ := c.h2.Streams()
		t.Streams += open
	}
	return t
}

// Brief returns the sums without visiting the connections: Streams is as of the last
// Sample, 0 before the first.
func (r *Registry) Brief() Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.briefLocked()
}

func (r *Registry) briefLocked() Totals {
	return Totals{
		Connections: len(r.list), Draining: r.draining, Keys: len(r.keys), Streams: r.streams,
		Opened: r.nextID, Lost: r.lost,
		GoAways: maps.Clone(r.goaways), Closed: maps.Clone(r.closed),
	}
}
