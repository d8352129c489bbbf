package conns

import (
	"errors"
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

	mu         sync.Mutex
	list       []*Conn // unordered; each Conn has its index
	keys       map[string]*keyState
	draining   int // number of drained connections in list
	nextID     uint64
	goaways    map[reason.Reason]uint64
	closed     map[h2conn.How]uint64
	lost       uint64 // connections whose frames could not be followed to the end
	sums       load   // of the connections that are not draining
	streams    int    // in flight at the last Sample
	drains     drainQueue
	returns    Returns
	handshakes map[*handshake]struct{}
}

// keyState is the state of one client: of the connections that have its key.
type keyState struct {
	key      string
	serving  int32    // connections that are not draining
	draining int32    // connections that are draining, not closed yet
	history  *history // nil until a connection was drained
}

// Conn is one live connection. A server may hold 100,000 of them, so fields that only
// some connections need are behind a pointer.
type Conn struct {
	reg      *Registry
	h2       *h2conn.Conn
	key      *keyState
	drain    *drainState // nil until it is drained
	id       uint64
	opened   time.Duration
	load     load
	pos      int32 // in reg.list; -1 once removed
	returned bool
	sampled  bool
	named    bool // by SetKey
}

// drainState is when and why a connection was drained.
type drainState struct {
	since  time.Duration
	reason reason.Reason
}

// NewRegistry returns an empty registry whose epoch is now. linger is how long the client
// of a drained connection without streams has to close it.
func NewRegistry(linger time.Duration) *Registry {
	return &Registry{
		epoch:      time.Now(),
		h2:         h2conn.Config{Linger: linger},
		keys:       make(map[string]*keyState),
		goaways:    make(map[reason.Reason]uint64),
		closed:     make(map[h2conn.How]uint64),
		handshakes: make(map[*handshake]struct{}),
	}
}

// Now returns the time since the epoch, by the monotonic clock.
func (r *Registry) Now() time.Duration { return time.Since(r.epoch) }

// At returns the time from the epoch to t.
func (r *Registry) At(t time.Time) time.Duration { return t.Sub(r.epoch) }

// Add wraps and registers nc. No byte of HTTP/2 may have passed on it yet.
func (r *Registry) Add(nc net.Conn, key string) net.Conn {
	c := &Conn{reg: r, opened: r.Now(), load: load{weight: 1}}
	c.h2 = h2conn.New(nc, &r.h2, c)
	// The handler of the first RPC must find the connection.
	indexAdd(c.h2.RemoteAddr(), c)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextID++
	c.id = r.nextID
	c.pos = int32(len(r.list))
	r.list = append(r.list, c)
	r.expireLocked(c.opened)
	c.key = r.keyLocked(key)
	c.countLocked(1)
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

// SetKey gives the connection another key, such as one from a header of its first RPC.
func (c *Conn) SetKey(key string) {
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.pos < 0 || c.key.key == key {
		return
	}
	r.expireLocked(r.Now())
	c.countLocked(-1)
	r.forgetLocked(c.key)
	c.key, c.named = r.keyLocked(key), true
	c.countLocked(1)
	if h := c.key.history; h != nil && c.opened >= h.latest && !c.returned {
		c.returned = r.returnLocked(c.key)
	}
}

// countLocked adds the connection to the counts of its key, and to the sums if it is not
// draining. With -1 it takes the connection out of them.
func (c *Conn) countLocked(n int32) {
	if c.drain != nil {
		c.reg.draining += int(n)
		c.key.draining += n
		return
	}
	c.key.serving += n
	c.reg.sums.add(&c.load, float64(n))
}

// forgetLocked drops a key that has neither a connection nor a pending return. Sweep drops
// the others later.
func (r *Registry) forgetLocked(k *keyState) {
	if k.serving+k.draining == 0 && !k.pending() {
		delete(r.keys, k.key)
	}
}

// ID is the connection's number in its registry.
func (c *Conn) ID() uint64 { return c.id }

// Draining returns a channel that is closed once the connection drains, whoever sent the
// GOAWAY.
func (c *Conn) Draining() <-chan struct{} { return c.h2.Draining() }

// Drain drains the connection for the given reason; the client gets text in the GOAWAY.
// grace, if positive, is the time after which the connection is closed even with streams
// open. Drain never blocks, and reports whether this call was the one that drained the
// connection.
func (c *Conn) Drain(why reason.Reason, text string, grace time.Duration) bool {
	if !c.markDraining(why) {
		return false
	}
	return c.h2.Drain("evenkeel: "+text, grace)
}

// markDraining counts the connection as draining, once.
func (c *Conn) markDraining(why reason.Reason) bool {
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.drain != nil || c.pos < 0 {
		return false
	}
	c.countLocked(-1)
	c.drain = &drainState{since: r.Now(), reason: why}
	c.countLocked(1)
	r.noteDrainLocked(c.key, c.drain)
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
		r.goaways[c.drain.reason]++
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

// OnClose removes the connection from the registry.
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
	c.countLocked(-1)
	r.forgetLocked(c.key)
}
