package conns

import (
	"errors"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Registry holds the live connections of one server.
type Registry struct {
	epoch time.Time
	h2    h2conn.Config

	mu      sync.Mutex
	list    []*Conn // in no order; a Conn knows its place
	keys    map[string]*keyState
	leaving int
	nextID  uint64
	goaways map[reason.Reason]uint64
	closed  map[h2conn.How]uint64
	lost    uint64 // connections on which the frames were lost
	sums    load   // of the connections that are not leaving
	streams int    // in flight at the last Sample
	asks    askQueue
	returns Returns
	shaking map[*handshake]struct{}
}

// handshake is a connection that has not come to HTTP/2 yet.
type handshake struct {
	raw   net.Conn
	since time.Duration
}

// keyState is what is known of one client: the connections that carry its key.
type keyState struct {
	key     string
	serving int32 // connections not leaving
	leaving int32 // connections asked to leave, not closed yet
	past    *past // nil until one was asked to leave
}

// Conn is one live connection. A server may hold 100,000: what only some need is
// behind a pointer.
type Conn struct {
	reg      *Registry
	h2       *h2conn.Conn
	key      *keyState
	exit     *exit // nil until it is leaving
	id       uint64
	opened   time.Duration
	load     load
	pos      int32 // in reg.list; -1 once removed
	returned bool
	sampled  bool
	named    bool // by SetKey
}

// exit is what is known of a connection that is leaving.
type exit struct {
	asked  time.Duration
	reason reason.Reason
}

// Info is one connection at one moment, as planning needs it.
type Info struct {
	// ID is unique in the registry and rises with time.
	ID uint64
	// Key names the client.
	Key string
	// Opened is when it was accepted, since the registry's epoch.
	Opened time.Duration
	// Returned: it came back after its key had been asked to leave.
	Returned bool
	// Draining: it has been asked to leave.
	Draining bool
	// Named: its key is one of SetKey's.
	Named bool
	// Streams is the number in flight, StreamsOpened those ever opened.
	Streams       int
	StreamsOpened uint64
	// RequestRate is how many streams it opens per second, over about the last 30 s;
	// MeanStreams how many are in flight, over about the last 10 s. Both are as of the
	// last Sample, 0 before the first.
	RequestRate, MeanStreams float64
	// Weight is its part of Loads, by the weight given to Sample; 1 before.
	Weight float64
	// FutileDrains is how often in a row its client was asked to leave and came back here,
	// per connection that it has here now: 0 if more than one in ten stayed away.
	FutileDrains int
}

// Totals are the registry's sums.
type Totals struct {
	Connections, Draining, Keys int
	// Streams is how many are in flight: now, in Totals; at the last Sample, in Brief.
	Streams int
	// Opened is how many connections were ever tracked.
	Opened uint64
	// Lost is on how many the frames could not be followed to the end.
	Lost    uint64
	GoAways map[reason.Reason]uint64
	Closed  map[h2conn.How]uint64
}

// NewRegistry returns an empty registry whose epoch is now. linger is how long a
// connection that has become quiet is left to its client to close.
func NewRegistry(linger time.Duration) *Registry {
	return &Registry{
		epoch:   time.Now(),
		h2:      h2conn.Config{Linger: linger},
		keys:    make(map[string]*keyState),
		goaways: make(map[reason.Reason]uint64),
		closed:  make(map[h2conn.How]uint64),
		shaking: make(map[*handshake]struct{}),
	}
}

// Handshake notes that one begins on raw, and returns what is to be called at its end.
func (r *Registry) Handshake(raw net.Conn) (done func()) {
	h := &handshake{raw: raw, since: r.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shaking[h] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.shaking, h)
	}
}

// CloseSilent closes the connections that are at least so old and whose clients have
// not begun to speak HTTP/2, and returns how many. No RPC is on those.
func (r *Registry) CloseSilent(age time.Duration) int {
	until := r.Now() - age
	var raw []net.Conn
	var all []*Conn
	r.mu.Lock()
	for h := range r.shaking {
		if h.since <= until {
			raw = append(raw, h.raw)
			delete(r.shaking, h)
		}
	}
	for _, c := range r.list {
		if c.opened <= until {
			all = append(all, c)
		}
	}
	r.mu.Unlock()
	for _, nc := range raw {
		_ = nc.Close()
	}
	closed := len(raw)
	for _, c := range all {
		if c.h2.CloseSilent() {
			closed++
		}
	}
	return closed
}

// Now is the time since the epoch, by the monotonic clock.
func (r *Registry) Now() time.Duration { return time.Since(r.epoch) }

// At is t since the epoch.
func (r *Registry) At(t time.Time) time.Duration { return t.Sub(r.epoch) }

// Add wraps and registers nc, on which no HTTP/2 byte has passed yet.
func (r *Registry) Add(nc net.Conn, key string) net.Conn {
	c := &Conn{reg: r, opened: r.Now(), load: load{weight: 1}}
	c.h2 = h2conn.New(nc, &r.h2, c)
	// Before the first RPC, so that its handler finds the connection.
	indexAdd(c.h2.RemoteAddr(), c)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextID++
	c.id = r.nextID
	c.pos = int32(len(r.list))
	r.list = append(r.list, c)
	r.expireLocked(c.opened)
	c.key = r.keyLocked(key)
	c.bookLocked(1)
	c.returned = r.returnLocked(c.key)
	return c.h2
}

func (r *Registry) keyLocked(key string) *keyState {
	k := r.keys[key]
	if k == nil {
		k = &keyState{key: key}
		r.keys[key] = k
	}
	return k
}

// SetKey gives the connection another key, such as one found in a header of its first
// RPC.
func (c *Conn) SetKey(key string) {
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.pos < 0 || c.key.key == key {
		return
	}
	r.expireLocked(r.Now())
	c.bookLocked(-1)
	r.forgetLocked(c.key)
	c.key, c.named = r.keyLocked(key), true
	c.bookLocked(1)
	if p := c.key.past; p != nil && c.opened >= p.asked && !c.returned {
		c.returned = r.returnLocked(c.key)
	}
}

// bookLocked counts the connection, or takes it out with -1: among those of its key,
// and in the sums if it is not leaving.
func (c *Conn) bookLocked(n int32) {
	if c.exit != nil {
		c.reg.leaving += int(n)
		c.key.leaving += n
		return
	}
	c.key.serving += n
	c.reg.sums.add(&c.load, float64(n))
}

// forgetLocked drops a key that no connection carries and that no return is owed
// to; Sweep drops the others in time.
func (r *Registry) forgetLocked(k *keyState) {
	if k.serving+k.leaving == 0 && !k.owed() {
		delete(r.keys, k.key)
	}
}

// ID is the connection's number in its registry.
func (c *Conn) ID() uint64 { return c.id }

// Draining returns a channel that is closed when the connection has been asked to
// leave, by whomever.
func (c *Conn) Draining() <-chan struct{} { return c.h2.Draining() }

// Drain asks the connection to leave for the given reason and says so to the
// client in words. It never blocks. It reports whether this call was the one
// that asked.
func (c *Conn) Drain(why reason.Reason, text string, grace time.Duration) bool {
	if !c.markDraining(why) {
		return false
	}
	return c.h2.Drain("evenkeel: "+text, grace)
}

// markDraining books the connection as leaving, once.
func (c *Conn) markDraining(why reason.Reason) bool {
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.exit != nil || c.pos < 0 {
		return false
	}
	c.bookLocked(-1)
	c.exit = &exit{asked: r.Now(), reason: why}
	c.bookLocked(1)
	r.askLocked(c.key, c.exit)
	return true
}

// OnGoAway counts a GOAWAY that is on the wire. One that the gRPC server sent itself
// also marks the connection as draining.
func (c *Conn) OnGoAway(ours bool) {
	if !ours {
		c.markDraining(reason.Server)
	}
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if ours {
		r.goaways[c.exit.reason]++
	} else {
		r.goaways[reason.Server]++
	}
}

var (
	_ h2conn.Observer     = (*Conn)(nil)
	_ h2conn.LossObserver = (*Conn)(nil)
)

// OnLost counts a connection whose frames can no longer be followed. A failed write
// does not count: that connection is over anyway, mostly because its client closed it.
func (c *Conn) OnLost(err error) {
	if errors.Is(err, h2conn.ErrWrite) {
		return
	}
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost++
}

// OnClose takes the connection out of the registry.
func (c *Conn) OnClose(how h2conn.How) {
	indexRemove(c.h2.RemoteAddr())
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.pos < 0 {
		return
	}
	r.closed[how]++
	last := r.list[len(r.list)-1]
	r.list[c.pos], last.pos = last, c.pos
	r.list[len(r.list)-1] = nil
	r.list = r.list[:len(r.list)-1]
	c.pos = -1
	c.bookLocked(-1)
	r.forgetLocked(c.key)
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
		ID: c.id, Key: c.key.key, Opened: c.opened, Returned: c.returned, Draining: c.exit != nil,
		RequestRate: c.load.requests, MeanStreams: c.load.streams, Weight: c.load.weight,
		FutileDrains: c.key.futile(), Named: c.named,
	}
	i.Streams, i.StreamsOpened = c.h2.Streams()
}

// Pick returns the live connections with the given IDs, in their order; those that
// are gone are left out. It walks the list: a map by ID would cost each connection some
// 30 bytes for as long as it lives, and save a few moves less than the Each before them.
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

// Serving returns every live connection that has not been asked to leave.
func (r *Registry) Serving() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Conn, 0, len(r.list)-r.leaving)
	for _, c := range r.list {
		if c.exit == nil {
			out = append(out, c)
		}
	}
	return out
}

// EachKey calls f for every key with the number of its connections that are not
// leaving, until f returns false. f must not call the registry.
func (r *Registry) EachKey(f func(key string, serving int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.keys {
		if k.serving > 0 && !f(k.key, int(k.serving)) {
			return
		}
	}
}

// Slow returns how many connections were asked to leave longer than d ago and are still
// there: long streams, or clients that do not acknowledge.
func (r *Registry) Slow(d time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving == 0 {
		return 0
	}
	n, before := 0, r.Now()-d
	for _, c := range r.list {
		if c.exit != nil && c.exit.asked <= before {
			n++
		}
	}
	return n
}

// Lost is on how many connections the frames could not be followed to the end.
func (r *Registry) Lost() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// Totals returns the sums, exact, which takes a look at every connection.
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

// Brief returns the sums at once, however many connections there are: Streams is as of
// the last Sample, 0 before the first.
func (r *Registry) Brief() Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.briefLocked()
}

func (r *Registry) briefLocked() Totals {
	return Totals{
		Connections: len(r.list), Draining: r.leaving, Keys: len(r.keys), Streams: r.streams,
		Opened: r.nextID, Lost: r.lost,
		GoAways: maps.Clone(r.goaways), Closed: maps.Clone(r.closed),
	}
}
