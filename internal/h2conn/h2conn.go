package h2conn

import (
	"errors"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/ready"
)

// State is how far the draining of a connection has come.
type State uint8

// A connection moves down this list. There is one way back: a stream that opens
// in an Idle connection makes it Acknowledged again.
const (
	// Open means that the connection is in service and not draining.
	Open State = iota
	// Draining means that the connection is being drained, but the client has not
	// yet proved that it has read the GOAWAY. A connection that the server itself
	// drains stays here.
	Draining
	// Acknowledged means that the client has read the GOAWAY and streams are still
	// open.
	Acknowledged
	// Idle means that the GOAWAY is acknowledged and no stream is open. The
	// connection lingers before it is closed.
	Idle
	// Closed means that the connection has ended.
	Closed
)

// String returns the state in lower case.
func (s State) String() string {
	return nameOf(s, "open", "draining", "acknowledged", "idle", "closed")
}

// How names the side that ended a connection, and the way it did so.
type How uint8

// The ways in which a connection ends.
const (
	// ByClient means that the client closed the connection, or that it broke, other
	// than after a GOAWAY without a stream open.
	ByClient How = iota
	// Clean means that it ended after a GOAWAY without a stream open. Either the
	// client closed it, as most do, or the Conn did.
	Clean
	// Forced means that the Conn closed it at the end of its grace, with streams
	// still open.
	Forced
	// ByServer means that the gRPC server itself closed it, or ended its side first: Stop,
	// keepalive, or a protocol error.
	ByServer
)

// String returns the way in lower case.
func (h How) String() string {
	return nameOf(h, "client", "clean", "forced", "server")
}

func nameOf[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// Use is what a client has used a connection for.
type Use uint8

// A connection moves down this list. Some steps may be left out.
const (
	// Silent means that the client has not begun to speak HTTP/2.
	Silent Use = iota
	// Ready means that the client speaks HTTP/2, but has opened no stream.
	Ready
	// Probed means that all streams so far were health checks.
	Probed
	// InUse means that the client has opened a stream that is no health check.
	InUse
)

// String returns the use in lower case.
func (u Use) String() string {
	return nameOf(u, "silent", "ready", "probed", "in use")
}

// Observer is notified of what happens to a connection.
//
// Its methods are called one at a time and in order, without any lock of the
// Conn held, and never from within Drain. They may run on the goroutine that
// reads or writes, so they must not block.
type Observer interface {
	// OnUse is called when the use of the connection has changed. A connection that
	// stays Silent may never be closed: grpc-go drops the Conn if it cannot make a
	// transport of it.
	OnUse(u Use)
	// OnGoAway is called at most once, when the first GOAWAY is on the wire. ours is
	// true for a GOAWAY that Drain caused, and false for one that the gRPC server
	// wrote itself.
	OnGoAway(ours bool)
	// OnClose is called once, when the connection is closed and no write is under
	// way any more. It is always the last call.
	OnClose(How)
}

// LossObserver is an optional interface of an Observer. It is notified of
// connections whose frames can no longer be followed.
type LossObserver interface {
	// OnLost is called at most once, with the error that Conn.Lost returns from
	// then on.
	OnLost(err error)
}

// StreamObserver is an optional interface of an Observer that counts streams now and then, and
// wants to spend nothing on connections without any news.
type StreamObserver interface {
	// OnStreams is called once after each Conn.Rest that returned true, as soon as a stream
	// opens or ends.
	OnStreams()
}

// The reasons why the frames of a connection are lost.
var (
	// ErrPreface means that the client did not begin with the HTTP/2 connection
	// preface.
	ErrPreface = errors.New("h2conn: the client sent no HTTP/2 preface")
	// ErrFrame means that the server wrote bytes that cannot be an HTTP/2 frame in
	// that place.
	ErrFrame = errors.New("h2conn: the server wrote an invalid HTTP/2 frame")
	// ErrWrite means that a write failed for a reason other than the client's
	// absence, such as a deadline. It is unknown how much the client has received.
	ErrWrite = errors.New("h2conn: a write failed in the middle of the HTTP/2 frames")
)

// Config is shared by many connections.
type Config struct {
	// Linger is how long the client has to close an Idle connection before the
	// Conn closes it, counted from the proof that it has read everything. Zero means
	// 1 s; a negative value means no time at all.
	Linger time.Duration
	// UseOf returns what a request with this :path makes of a connection: Ready, which
	// leaves it as it is, Probed or InUse. Nil means InUse for all of them.
	UseOf func(path string) Use
}

var defaultConfig Config

// defaultLinger is long enough, over any network, for a client that closes
// drained connections by itself.
const defaultLinger = time.Second

// Conn follows the frames of one server connection in both directions.
//
// It may be used by one reader and any number of writers at a time.
type Conn struct {
	net.Conn

	// Reader and writer mostly run on two processors. The order of the fields
	// separates what each of them changes, and both from what both only read.

	news    atomic.Bool   // a call of the observer may be due
	pending atomic.Uint32 // the frames to inject; changes only with mu held
	ready   ready.Reader  // made by the first ReadOnReady
	obs     Observer      // nil once OnClose is called
	addr    net.Addr
	cfg     *Config

	in inbound // owned by the reader

	mu      sync.Mutex // guards the fields down to drain; never held during I/O or calls of obs
	streams streams

	state       State
	use         Use
	useNotified Use
	lost        uint8 // index in losses; 0 means not lost
	how         How   // set when Closed

	begun         bool   // the client's preface and its first frame have arrived
	goAway        goAway // who sent the first GOAWAY on the wire
	proofInFlight bool   // a proof PING awaits its ACK; there is never a second one
	acked         bool   // a proof PING has been acknowledged
	clientGone    bool   // the read side has ended, or a write failed
	closing       bool   // the Conn is closing the connection; the client's frames count no more
	unread        bool   // the server has ended streams since the latest proof PING

	rest rest // what the observer knows of the streams

	notifying                    bool
	lossNotified, goAwayNotified bool

	drain *drainState // nil until it is needed

	writeMu writeLock // held while writing; never waited for with mu held
	out     outbound  // owned by the holder of writeMu
}

// rest is how far a connection has come from one Rest to the next.
type rest uint8

const (
	awake   rest = iota
	resting      // no stream has opened or ended since Rest
	stirred      // one has, and OnStreams has not been called yet
)

// goAway names the side that caused the first GOAWAY on the wire.
type goAway uint8

const (
	noGoAway goAway = iota
	servers
	ours
)

// New wraps nc, on which nothing has been read or written yet. With TLS, nc is
// the plaintext side after the handshake. A nil cfg means the defaults; a nil
// obs is allowed.
func New(nc net.Conn, cfg *Config, obs Observer) *Conn {
	if cfg == nil {
		cfg = &defaultConfig
	}
	return &Conn{Conn: nc, cfg: cfg, obs: obs, addr: UniqueAddr(nc.RemoteAddr()), streams: streams{limit: maxStreamID}}
}

func (c *Conn) linger() time.Duration {
	if c.cfg.Linger == 0 {
		return defaultLinger
	}
	return c.cfg.Linger
}

// Streams returns how many streams are in flight, and how many the client has
// ever opened. Neither changes once the frames are lost. A Closed connection has
// none in flight.
func (c *Conn) Streams() (open int, opened uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Closed {
		return 0, uint64(c.streams.opened)
	}
	return c.streams.len(), uint64(c.streams.opened)
}

// Rest makes the observer's OnStreams be called once the streams are no longer as Streams has
// returned them. It returns false, and does nothing, if they already are no longer.
func (c *Conn) Rest(open int, opened uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rest == stirred || c.state == Closed || c.streams.len() != open || uint64(c.streams.opened) != opened {
		return false
	}
	c.rest = resting
	return true
}

// stirLocked notes that a stream has opened or ended.
func (c *Conn) stirLocked() {
	if c.rest == resting {
		c.rest = stirred
		c.news.Store(true)
	}
}

// State returns how far the draining of the connection has come.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Lost returns why the frames of the connection can no longer be followed:
// ErrPreface, ErrFrame or ErrWrite. It returns nil as long as they can. The bytes
// of a lost connection still pass, but nothing is injected and Drain returns
// false.
func (c *Conn) Lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return losses[c.lost]
}

var losses = [...]error{nil, ErrPreface, ErrFrame, ErrWrite}

const (
	lostPreface = iota + 1
	lostFrame
	lostWrite
)

// RemoteAddr returns the same value on every call. So the address in an RPC's
// peer.Peer identifies its connection. If the address of the connection below is a
// pointer, it is returned as it is; see [Conn.WrapAddr]. An address of any other
// type is wrapped.
func (c *Conn) RemoteAddr() net.Addr { return c.addr }

// WrapAddr makes the address of the connection unique even if other connections
// have the same pointer, as the streams of a multiplexed session do. Call it before
// anybody has called RemoteAddr.
func (c *Conn) WrapAddr() {
	c.addr = WrapAddr(c.addr)
}

// WrapAddr returns a as an *Addr that no other connection has, unless it is one already.
func WrapAddr(a net.Addr) net.Addr {
	if _, wrapped := a.(*Addr); wrapped {
		return a
	}
	return &Addr{a}
}

// Addr wraps the address of a connection below that is no pointer, or one that
// several connections have.
type Addr struct{ below net.Addr }

// Network returns the network of the wrapped address.
func (a *Addr) Network() string { return a.below.Network() }

// String returns the wrapped address as a string.
func (a *Addr) String() string { return a.below.String() }

// noAddr is the address of a connection that has none.
type noAddr struct{}

func (noAddr) Network() string { return "unknown" }
func (noAddr) String() string  { return "unknown" }

// UniqueAddr returns a if it is a pointer that can tell a connection from others, otherwise a
// wrapped.
func UniqueAddr(a net.Addr) net.Addr {
	if a == nil {
		return &Addr{noAddr{}}
	}
	v := reflect.ValueOf(a)
	if v.Kind() != reflect.Pointer {
		return &Addr{a}
	}
	// Pointers to empty structs may all be equal, and nil pointers are.
	if v.IsNil() {
		return &Addr{noAddr{}}
	}
	if v.Type().Elem().Size() == 0 {
		return &Addr{a}
	}
	return a
}

var errNoSyscallConn = errors.New("h2conn: the connection below has no file descriptor")

// SyscallConn returns the raw connection of the connection below, or an error if
// it has none. It exists for channelz: reading or writing through it loses the
// frames.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errNoSyscallConn
}
