package conns

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Registry holds the live connections of one server.
type Registry struct {
	epoch time.Time
	h2    h2conn.Config

	mu         sync.Mutex
	all        tour // the listed connections
	active     tour // those whose averages may change with the next Sample
	arriving   map[uint64]arrival
	keys       map[string]*keyState
	http1      map[*keyState]int32 // of keyState.serving, those that speak HTTP/1.1; most keys have none
	draining   int                 // number of drained connections in all
	carrying   int                 // number of connections in all that are load
	nextID     uint64
	opened     uint64 // connections ever listed
	goaways    map[reason.Reason]uint64
	closed     map[h2conn.How]uint64
	departed   uint64 // connections that carried load and that their clients closed by themselves
	lost       int    // connections in all whose frames cannot be followed
	notHTTP2   uint64 // connections whose client spoke something else
	sums       sums   // of the connections that are load
	recount    sums   // of those that the tour through all has visited
	streams    int    // in flight, as Sample has seen them
	sampledAt  time.Duration
	drained    drainedList
	flight     flight
	drains     drainQueue
	returns    Returns
	handshakes map[*handshake]struct{}
}

// keyState is the state of one client: of the connections that have its key.
type keyState struct {
	key     string
	all     int32    // connections in Registry.all
	serving int32    // those that its client uses and that are not draining
	history *history // nil until a connection was drained
}

// Conn is one live connection. A server may hold 100,000 of them, so fields that only
// some connections need are behind a pointer.
type Conn struct {
	reg            *Registry
	wire           onWire
	key            atomic.Pointer[keyState] // in reg.keys once the connection is listed
	drain          *drainState              // nil until it is drained
	id             uint64
	opened         time.Duration // when it was listed
	load           load
	sampledStreams uint32 // ever opened by the last Sample
	open           int32  // streams in flight at the last Sample
	pos            int32  // in reg.all; negative if it is not there
	activePos      int32  // in reg.active; negative if it is not there
	claim          uint16 // history.claims when it became tentative
	use            h2conn.Use
	returned       bool
	tentative      bool // returned, but without a stream yet
	sampled        bool
	named          bool // by SetKey
	lost           bool
	http1          bool
}

// The values of Conn.pos outside of the list.
const (
	isArriving = -1 // its client has not begun to speak HTTP/2
	isGone     = -2
)

// The paths of grpc.health.v1.
const (
	healthService = "/grpc.health.v1.Health/"
	healthWatch   = healthService + "Watch"
)

// useOf returns the use of a connection by a request with this path. Clients that check the
// health of their own connections, as grpc-go can, open a Watch before their first call. So a
// Watch says nothing about who is there.
func useOf(path string) h2conn.Use {
	switch {
	case path == healthWatch:
		return h2conn.Ready
	case strings.HasPrefix(path, healthService):
		return h2conn.Probed
	}
	return h2conn.InUse
}

// NewRegistry returns an empty registry whose epoch is now. linger is how long the client
// of a drained connection without streams has to close it.
func NewRegistry(linger time.Duration) *Registry {
	return &Registry{
		epoch:      time.Now(),
		all:        tour{pos: func(c *Conn) *int32 { return &c.pos }},
		active:     tour{pos: func(c *Conn) *int32 { return &c.activePos }},
		h2:         h2conn.Config{Linger: linger, UseOf: useOf},
		arriving:   make(map[uint64]arrival),
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

// In reports whether the connection belongs to r.
func (c *Conn) In(r *Registry) bool { return c.reg == r }

// OnUse lists the connection and counts it by its use.
func (c *Conn) OnUse(use h2conn.Use) {
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.pos == isGone {
		return
	}
	r.expireLocked(r.Now())
	if c.pos == isArriving {
		r.listLocked(c)
	}
	c.countLocked(-1)
	c.use = use
	c.countLocked(1)
	c.activateLocked()
	c.noteReturnLocked()
}

func (r *Registry) listLocked(c *Conn) {
	r.arrivedLocked(c)
	c.opened = r.Now()
	r.all.add(c)
	r.opened++
	c.key.Store(r.keyLocked(c.key.Load()))
	c.countLocked(1)
	if c.drain != nil {
		c.drainedLocked()
	}
}

// keyLocked returns the state that the registry has of the key, which is k if it has none.
func (r *Registry) keyLocked(k *keyState) *keyState {
	if known := r.keys[k.key]; known != nil {
		return known
	}
	r.keys[k.key] = k
	return k
}

// SetKey gives the connection another key, such as one from a header of its first RPC.
// Handlers may call it with every RPC, so it takes no lock if nothing changes.
func (c *Conn) SetKey(key string) {
	if c.key.Load().key == key {
		return
	}
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.pos == isGone || c.key.Load().key == key {
		return
	}
	c.named = true
	if c.pos == isArriving {
		c.key.Store(&keyState{key: key})
		return
	}
	r.expireLocked(r.Now())
	c.countLocked(-1)
	c.endTentativeLocked()
	r.forgetLocked(c.key.Load())
	c.key.Store(r.keyLocked(&keyState{key: key}))
	c.countLocked(1)
	c.activateLocked() // a weight may depend on the key
	if c.key.Load().pending() {
		c.returned = false // that was a return of the other key
	}
	c.noteReturnLocked()
}

// isLoad reports whether the connection is load. One without a stream is none, and neither
// is one that carries only health checks.
func (c *Conn) isLoad() bool { return c.drain == nil && c.use == h2conn.InUse }

// countLocked adds a listed connection to the counts. With -1 it takes it out of them.
func (c *Conn) countLocked(n int32) {
	r, k := c.reg, c.key.Load()
	k.all += n
	if c.drain != nil {
		r.draining += int(n)
		return
	}
	if c.isClients() {
		k.serving += n
		if c.http1 {
			r.countHTTP1Locked(k, n)
		}
	}
	if c.isLoad() {
		r.carrying += int(n)
		c.addLoadLocked(&c.load, float64(n))
	}
}

// isClients reports whether a client uses the connection, or has it ready for use. A health
// checker is no client.
func (c *Conn) isClients() bool { return c.use == h2conn.Ready || c.use == h2conn.InUse }

// forgetLocked drops a key that has neither a connection nor a pending return. Sweep drops
// the others later.
func (r *Registry) forgetLocked(k *keyState) {
	if k.all == 0 && !k.pending() {
		delete(r.keys, k.key)
	}
}

// ID is the connection's number in its registry.
func (c *Conn) ID() uint64 { return c.id }

// Draining returns a channel that is closed once the connection drains, whoever sent the
// GOAWAY.
func (c *Conn) Draining() <-chan struct{} { return c.wire.Draining() }

// AfterDraining calls f in a goroutine of its own once the connection drains.
func (c *Conn) AfterDraining(f func()) (stop func() bool) { return c.wire.AfterDraining(f) }

// sparedFor is how long a connection is spared on which its client has not opened a stream
// yet. The client has just dialed, and its first request is on its way. net/http fails such a
// request, and does not repeat it, if the connection ends before it was sent.
const sparedFor = time.Second

// spared returns for how much longer the connection must not be drained.
func (c *Conn) spared() time.Duration {
	c.reg.mu.Lock()
	defer c.reg.mu.Unlock()
	if c.use != h2conn.Ready || c.drain != nil || c.pos < 0 {
		return 0
	}
	return c.opened + sparedFor - c.reg.Now()
}

// Drain drains the connection for the given reason; the client gets text in the GOAWAY.
// grace, if positive, is the time after which the connection is closed even with streams
// open. Drain never blocks, and reports whether this call was the one that drained the
// connection. A connection without a stream that is younger than a second is drained when
// it has that age. Each call before that reports true, and one of them drains it.
func (c *Conn) Drain(why reason.Reason, text string, grace time.Duration) bool {
	if wait := c.spared(); wait > 0 {
		time.AfterFunc(wait, func() {
			if flush := c.startDrain(why, text, grace); flush != nil {
				flush()
			}
		})
		return true
	}
	flush := c.startDrain(why, text, grace)
	if flush != nil {
		go flush() // it calls OnGoAway, and the caller may hold a lock that this takes
	}
	return flush != nil
}

// startDrain is Drain, but leaves the write to its caller. It returns nil if this call did
// not drain the connection.
func (c *Conn) startDrain(why reason.Reason, text string, grace time.Duration) (flush func()) {
	if c.wire.Lost() != nil || !c.markDraining(why) {
		return nil // what cannot be drained stays load
	}
	return c.wire.Drain("evenkeel: "+text, grace)
}

// markDraining counts the connection as draining, once.
func (c *Conn) markDraining(why reason.Reason) bool {
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.drain != nil || c.pos == isGone {
		return false
	}
	d := &drainState{since: r.Now(), reason: why}
	if c.pos == isArriving {
		c.drain = d
		return true
	}
	c.countLocked(-1)
	c.drain = d
	c.countLocked(1)
	c.drainedLocked()
	c.endTentativeLocked()
	if c.isClients() {
		r.noteDrainLocked(c.key.Load(), d)
	}
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

// OnLost counts a connection whose frames can no longer be followed, for as long as it
// lives. A failed write does not count: that connection is over anyway, mostly because its
// client closed it. Nor does a client that does not speak HTTP/2, since grpc-go closes its
// connection.
func (c *Conn) OnLost(err error) {
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, h2conn.ErrPreface):
		r.notHTTP2++
	case errors.Is(err, h2conn.ErrFrame) && c.pos >= 0:
		c.lost = true
		r.lost++
	}
}

// OnClose removes the connection from the registry.
func (c *Conn) OnClose(how h2conn.How) {
	indexRemove(c.wire.RemoteAddr(), weak.Make(c))
	r := c.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c.pos {
	case isGone:
		return
	case isArriving:
		r.arrivedLocked(c)
		c.pos = isGone
		return
	}
	r.closed[how]++
	if c.isLoad() && how == h2conn.ByClient {
		r.departed++
	}
	if c.lost {
		r.lost--
	}
	c.countLocked(-1)
	r.unlistLocked(c)
	c.endTentativeLocked()
	r.forgetLocked(c.key.Load())
}

func (r *Registry) unlistLocked(c *Conn) {
	r.streams -= int(c.open)
	if c.drain != nil {
		c.flyLocked(0)
		r.drained.remove(c)
	}
	c.deactivateLocked()
	r.all.remove(c)
}
