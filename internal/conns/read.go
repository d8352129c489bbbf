package conns

import (
	"maps"
	"runtime"
	"slices"
	"sync"
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
	// Use is what its client has used it for: never Silent.
	Use h2conn.Use
	// Opened is when its client began to speak HTTP/2, as time since the registry's epoch.
	Opened time.Duration
	// Returned reports whether the client opened it after a drain of its key: it came back.
	// A connection that only health checks use has not.
	Returned bool
	// Draining reports whether it has been drained.
	Draining bool
	// Named reports whether SetKey set its key.
	Named bool
	// HTTP1 reports whether its client speaks HTTP/1.1.
	HTTP1 bool
	// Streams is the number of streams in flight, StreamsOpened of those ever opened.
	Streams       int
	StreamsOpened uint64
	// RequestRate is the number of streams that it opens per second, over about the last
	// 30 s. MeanStreams is the number in flight, over about the last 10 s. Both are as of
	// the last Sample, and 0 before the first.
	RequestRate, MeanStreams float64
	// Weight is its part of Loads, as the function given to Sample returned it; 1 before. It
	// is 0 as long as no client uses the connection.
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
	// Opened is the number of connections ever tracked: those whose clients spoke HTTP/2.
	Opened uint64
	// NotHTTP2 is the number of connections whose clients spoke something else.
	NotHTTP2 uint64
	// Lost is the number of connections whose frames cannot be followed, now.
	Lost    int
	GoAways map[reason.Reason]uint64
	Closed  map[h2conn.How]uint64
}

// snapshot returns the live connections in a buffer that the caller gives back to release.
// Visiting 100,000 connections takes 10 ms, and every connection that comes or goes waits for
// the lock. So the lock is held for the copy, and then for batches.
func (r *Registry) snapshot() *[]*Conn {
	buf, _ := buffers.Get().(*[]*Conn)
	if buf == nil {
		buf = new([]*Conn)
	}
	// Allocating for 100,000 connections takes longer than copying them.
	*buf = slices.Grow((*buf)[:0], r.len()+visitBatch)
	r.mu.Lock()
	defer r.mu.Unlock()
	*buf = append(*buf, r.all.list...)
	return buf
}

func (r *Registry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all.list)
}

var buffers sync.Pool

func release(buf *[]*Conn) {
	clear(*buf) // it must not hold connections that are gone
	buffers.Put(buf)
}

// visitBatch is the number of connections or keys that are visited under one lock: about
// 100 us.
const visitBatch = 512

// visit calls f under the lock for every live connection. It leaves out those that come
// meanwhile.
func (r *Registry) visit(f func(*Conn)) {
	buf := r.snapshot()
	defer release(buf)
	for batch := range slices.Chunk(*buf, visitBatch) {
		r.visitSome(batch, f)
		runtime.Gosched() // whoever waits for the lock comes first
	}
}

func (r *Registry) visitSome(batch []*Conn, f func(*Conn)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range batch {
		if c.pos >= 0 {
			f(c)
		}
	}
}

// Each calls f for every live connection. f must not call the registry.
func (r *Registry) Each(f func(*Info)) {
	var i Info
	r.visit(func(c *Conn) {
		c.infoLocked(&i)
		f(&i)
	})
}

func (c *Conn) infoLocked(i *Info) {
	k := c.key.Load()
	*i = Info{
		ID: c.id, Key: k.key, Use: c.use, Opened: c.opened, Returned: c.returned, Draining: c.drain != nil,
		RequestRate: c.load.requests, MeanStreams: c.load.streams, Weight: c.load.weight,
		FutileDrains: k.futileDrains(), Named: c.named, HTTP1: c.http1,
	}
	if c.use != h2conn.InUse {
		i.Weight = 0
	}
	i.Streams, i.StreamsOpened = c.wire.Streams()
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
	all := r.snapshot()
	defer release(all)
	for _, c := range *all {
		if i, ok := want[c.id]; ok {
			found[i] = c
		}
	}
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
	var out []*Conn
	r.visit(func(c *Conn) {
		if c.drain == nil {
			out = append(out, c)
		}
	})
	return out
}

// EachKey calls f for every key with the number of HTTP/2 connections that its client uses, or
// has ready, and that are not draining, until f returns false. f must not call the registry. Keys
// that come or go meanwhile may be left out.
func (r *Registry) EachKey(f func(key string, serving int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, k := range r.keys {
		if http2 := k.serving - r.http1[k]; http2 > 0 && !f(k.key, int(http2)) {
			return
		}
		if n++; n%visitBatch == 0 {
			r.mu.Unlock() // a map may change between two steps of a range
			runtime.Gosched()
			r.mu.Lock()
		}
	}
}

// Lost returns the number of connections whose frames cannot be followed, now.
func (r *Registry) Lost() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// Totals returns the exact sums, for which it visits every connection.
func (r *Registry) Totals() Totals {
	streams := 0
	r.visit(func(c *Conn) {
		open, _ := c.wire.Streams()
		streams += open
	})
	t := r.Brief()
	t.Streams = streams
	return t
}

// Departed counts the connections that carried load and that their clients have closed by
// themselves, without being drained.
func (r *Registry) Departed() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.departed
}

// Brief returns the sums without visiting the connections: Streams is as of the last
// Sample, 0 before the first.
func (r *Registry) Brief() Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Totals{
		Connections: len(r.all.list), Draining: r.draining, Keys: len(r.keys), Streams: r.streams,
		Opened: r.opened, NotHTTP2: r.notHTTP2, Lost: r.lost,
		GoAways: maps.Clone(r.goaways), Closed: maps.Clone(r.closed),
	}
}
