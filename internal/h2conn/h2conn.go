package h2conn

import (
	"errors"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// State is how far a connection is on its way out.
type State uint8

// A connection moves down this list, with one way back: a stream that opens in
// a Quiet connection makes it Acknowledged again.
const (
	// Open serves, and nobody has asked it to leave.
	Open State = iota
	// Draining has been asked to leave; the client has not yet proved that it saw
	// the GOAWAY. A connection drained by the server itself stays here.
	Draining
	// Acknowledged: the client has seen the GOAWAY, streams are still open.
	Acknowledged
	// Idle: acknowledged and no stream open; it lingers before it is closed.
	Idle
	// Closed is over.
	Closed
)

// String returns the state in lower case.
func (s State) String() string {
	return nameOf(s, "open", "draining", "acknowledged", "idle", "closed")
}

// How says who ended a connection.
type How uint8

// The ways in which a connection ends.
const (
	// ByClient: the client closed it, or it broke.
	ByClient How = iota
	// Clean: closed by us after the client acknowledged and the last stream
	// ended, or when its grace was over and no stream was open.
	Clean
	// Forced: closed by us when its grace was over, streams still open.
	Forced
	// ByServer: closed by the gRPC server itself (Stop, keepalive, a protocol error).
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

// Observer is told what happens to a connection. Its methods are called
// without locks of the Conn held and never from within Leave, one at a time and
// in order, each at most as often as stated, possibly from the goroutine that
// reads or writes: they must not block.
type Observer interface {
	// OnGoAway is called once, when the first GOAWAY is on the wire. own tells
	// one that Leave asked for from one that the gRPC server wrote by itself.
	OnGoAway(ours bool)
	// OnClose is called once, when the connection is closed and no write is under way
	// any more. Nothing is told after it.
	OnClose(How)
}

// LossObserver may be implemented by an Observer that wants to know of
// connections whose frames cannot be followed.
type LossObserver interface {
	// OnLost is called at most once, with what Conn.Lost returns from then on.
	OnLost(err error)
}

// Why the frames of a connection are lost.
var (
	// ErrPreface: the client did not begin with the HTTP/2 connection preface.
	ErrPreface = errors.New("h2conn: the client sent no HTTP/2 preface")
	// ErrFrame: the server wrote something that cannot be an HTTP/2 frame there.
	ErrFrame = errors.New("h2conn: the server wrote an impossible HTTP/2 frame")
	// ErrWrite: a write failed for a reason that is not the client's, such as a
	// deadline, so that what the client has is not known.
	ErrWrite = errors.New("h2conn: a write failed within the HTTP/2 frames")
)

// Config is shared by many connections.
type Config struct {
	// Linger is how long a quiet connection is left to its client to close
	// before it is closed from here. Zero: 1 s. Negative: no time at all.
	Linger time.Duration
}

// defaultLinger is enough for a client that closes a drained connection to do
// so, over any network.
const defaultLinger = time.Second

// Conn follows the frames of one server connection in both directions.
//
// There may be one reader and any number of writers at a time.
type Conn struct {
	net.Conn

	// The order keeps what the reader changes away from what the writer changes, and
	// both from what both only read: they mostly run on two processors.

	news    atomic.Bool   // there is something to tell the observer
	pending atomic.Uint32 // what is to be injected; changes with mu held
	ready   readyReader   // made with the first ReadOnReady
	obs     Observer      // nil once the end has been told
	addr    net.Addr
	linger  time.Duration

	in inbound // owned by the reader

	mu      sync.Mutex // guards what follows; never held while reading, writing or telling
	streams streams
	limit   uint32 // streams above are refused: the lowest id of all GOAWAYs

	state State
	lost  uint8 // index in losses, 0: not lost
	how   How   // when ended

	begun         bool // the client's preface and first frame have come
	goAway        bool // a GOAWAY is on the wire
	goAwayOurs    bool // and the first one is ours
	proofInFlight bool // a PING that proves is on its way; never two
	acked         bool // and one has come back
	clientGone    bool // the client is gone: the read side has ended, or a write failed
	closing       bool // we are closing it
	unread        bool // streams ended by the server after the latest PING

	notifying                    bool
	lossNotified, goAwayNotified bool

	drain *drainState // nil until the connection is on its way out

	writeMu writeLock // held while writing, and never waited for with mu held
	out     outbound  // owned by who holds turn
}

// New wraps nc, on which nothing has been read or written yet (after a TLS
// handshake, the plaintext side). A nil cfg means the defaults; a nil obs is
// allowed.
func New(nc net.Conn, cfg *Config, obs Observer) *Conn {
	c := &Conn{Conn: nc, linger: defaultLinger, obs: obs, limit: maxStreamID}
	if cfg != nil && cfg.Linger != 0 {
		c.linger = cfg.Linger
	}
	c.addr = uniqueAddr(nc.RemoteAddr())
	return c
}

// Streams returns the streams in flight and those ever opened by the client.
// Both stand still when the frames are lost; none is in flight once it is Closed.
func (c *Conn) Streams() (open int, opened uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Closed {
		return 0, c.streams.opened
	}
	return len(c.streams.open), c.streams.opened
}

// State returns how far the connection is on its way out.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Lost returns why the frames of the connection cannot be followed any more:
// ErrPreface, ErrFrame or ErrWrite; nil while they are. Bytes of a lost
// connection still pass, but nothing is injected and Leave returns false.
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

// RemoteAddr returns the same value at each call, and one that is different
// for each connection: the pointer that identifies the connection of an RPC in
// peer.Peer. A pointer of the connection below is returned as it is; an address
// of any other type is wrapped.
func (c *Conn) RemoteAddr() net.Addr { return c.addr }

// Addr is the address of a connection whose own is not a pointer.
type Addr struct{ below net.Addr }

// Network returns that of the address below.
func (a *Addr) Network() string { return a.below.Network() }

// String returns that of the address below.
func (a *Addr) String() string { return a.below.String() }

// noAddr stands for the address of a connection that has none.
type noAddr struct{}

func (noAddr) Network() string { return "unknown" }
func (noAddr) String() string  { return "unknown" }

func uniqueAddr(a net.Addr) net.Addr {
	if a == nil {
		return &Addr{noAddr{}}
	}
	t := reflect.TypeOf(a)
	// Pointers to empty structs are all equal.
	if t.Kind() == reflect.Pointer && t.Elem().Size() > 0 {
		return a
	}
	return &Addr{a}
}

var errNoSyscallConn = errors.New("h2conn: the connection below has no file descriptor")

// SyscallConn returns that of the connection below, or an error if it has none.
// It is there for channelz; reading or writing through it loses the frames.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errNoSyscallConn
}
