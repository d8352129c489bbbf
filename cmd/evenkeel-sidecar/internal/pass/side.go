package pass

import (
	"errors"
	"net"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/evenkeel-go/evenkeel/internal/ready"
)

// Side is one of the two connections.
type Side interface {
	ready.Reader
	Write(p []byte) (int, error)
	// CloseWrite ends what is written, and leaves the other direction open.
	CloseWrite() error
	SetReadDeadline(t time.Time) error
	Close() error
	// Reset closes the connection so that the other end sees that it broke.
	Reset()
}

// Socket is a connection of the operating system, or any other one that can be half-closed.
type Socket struct {
	net.Conn
	ready.Reader
}

// NewSocket returns nc as a Side.
func NewSocket(nc net.Conn) *Socket {
	s := &Socket{Conn: nc, Reader: ready.Of(nc)}
	if s.Reader == nil {
		s.Reader = buffered{nc}
	}
	return s
}

var errNoHalfClose = errors.New("pass: the connection cannot be half-closed")

// CloseWrite fails if the connection cannot be half-closed.
func (s *Socket) CloseWrite() error { return closeWrite(s.Conn) }

func closeWrite(nc net.Conn) error {
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errNoHalfClose
}

// Reset drops what has not been sent. A Unix socket knows no reset, and is closed.
func (s *Socket) Reset() {
	Abort(s.Conn)
	_ = s.Close()
}

// Abort makes the next Close of a TCP connection a reset. With TLS, that is the one below.
func Abort(nc net.Conn) {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// buffered reads into a buffer that it takes first.
type buffered struct{ net.Conn }

// ReadOnReady holds a buffer while it waits.
func (b buffered) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	buf := pool.Get(size)
	n, err := b.Read(*buf)
	if n > 0 {
		return buf, n, err
	}
	pool.Put(buf)
	return nil, 0, err
}

// Hooked returns nc with a function that is called with every Close. Like nc itself, it is a
// [ready.Reader] only if nc is a socket: evenkeel reads other connections, such as those of
// TLS, in a way of its own.
func Hooked(nc net.Conn, onClose func()) net.Conn {
	h := hooked{nc, onClose}
	if r := ready.Of(nc); r != nil {
		return &hookedSocket{h, r}
	}
	return &h
}

type hooked struct {
	net.Conn
	onClose func()
}

func (h *hooked) CloseWrite() error { return closeWrite(h.Conn) }

func (h *hooked) Close() error {
	err := h.Conn.Close()
	h.onClose()
	return err
}

type hookedSocket struct {
	hooked
	ready.Reader
}
