package h2conn

import (
	"golang.org/x/net/http2"
	"google.golang.org/grpc/mem"

	"github.com/evenkeel-go/evenkeel/internal/ready"
)

var _ ready.Reader = (*Conn)(nil)

// Read reads from the client. What comes after the last word is read, too, but not
// returned.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if c.received(p[:max(0, min(n, len(p)))], err) {
			return n, err
		}
		if err != nil || len(p) == 0 {
			return 0, err
		}
	}
}

// ReadOnReady waits for data and only then takes a buffer of bufSize from the
// pool, so that an idle connection holds none. It returns the buffer and how much
// of it was filled; the caller puts the buffer back. If nothing was read, the
// buffer is nil. Bytes that come with an error are valid.
//
// A connection below that has a ReadOnReady of its own is called. For TCP and Unix
// sockets, ReadOnReady waits until they are readable. Any other connection (TLS) is
// read without a buffer up to the end of a frame header. If the header announces a
// payload, that payload is sure to follow, and a second read fills the buffer.
func (c *Conn) ReadOnReady(bufSize int, pool mem.BufferPool) (*[]byte, int, error) {
	if c.ready == nil {
		c.ready = c.readyReader()
	}
	for {
		buf, n, err := c.ready.ReadOnReady(bufSize, pool)
		var p []byte
		if buf != nil {
			p = (*buf)[:max(0, min(n, len(*buf)))]
		}
		if c.received(p, err) {
			return buf, n, err
		}
		if buf != nil {
			pool.Put(buf)
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

func (c *Conn) readyReader() ready.Reader {
	if r, ok := c.Conn.(ready.Reader); ok {
		return r
	}
	if r := ready.Of(c.Conn); r != nil {
		return r
	}
	return &headerReader{c: c}
}

// headerReader reads from a connection that can only be read into a buffer. While
// the connection is idle, that buffer has room for one frame header only.
type headerReader struct {
	c      *Conn
	header [frameHeaderLen]byte
}

func (r *headerReader) ReadOnReady(bufSize int, pool mem.BufferPool) (*[]byte, int, error) {
	missing := min(r.c.in.missing(), bufSize)
	if missing == 0 {
		buf := pool.Get(bufSize)
		n, err := r.c.Conn.Read(*buf)
		return putIfEmpty(buf, n, err, pool)
	}
	n, err := r.c.Conn.Read(r.header[:missing])
	if n <= 0 {
		return nil, 0, err
	}
	buf := pool.Get(bufSize)
	n = copy(*buf, r.header[:n])
	if err == nil && n < len(*buf) && r.payloadFollows(n) {
		var m int
		m, err = r.c.Conn.Read((*buf)[n:])
		n += max(0, m)
	}
	return buf, n, err
}

// payloadFollows reports whether a payload is sure to follow the n bytes just read.
func (r *headerReader) payloadFollows(n int) bool {
	in := &r.c.in
	if in.over == lostTrack || in.preface < uint8(len(http2.ClientPreface)) {
		return false
	}
	next := in.cursor // a copy: received follows these bytes later
	_, ok := next.readHeader(r.header[:n])
	return ok && next.remaining > 0
}

// putIfEmpty puts the buffer back into the pool if nothing was read into it.
func putIfEmpty(buf *[]byte, n int, err error, pool mem.BufferPool) (*[]byte, int, error) {
	if n <= 0 {
		pool.Put(buf)
		return nil, 0, err
	}
	return buf, n, err
}

// received follows the frames in p, which was read, and handles the read's error. It
// reports whether p may be passed on to the server. Once the Conn is closing the
// connection, no frame may that means anything.
func (c *Conn) received(p []byte, err error) (pass bool) {
	over := c.follow(p)
	if over {
		_ = c.Close()
	}
	if err != nil {
		c.readFailed(err)
	}
	c.notify()
	return c.in.over != lastWord
}

// follow reports whether the connection is over: the client has read the last word.
func (c *Conn) follow(p []byte) (over bool) {
	locked := false
	for len(p) > 0 {
		if mayBePlain(p) {
			if p = c.in.skipPlain(p); len(p) == 0 {
				break
			}
		}
		var ev event
		if p, ev = c.in.next(p); ev == nothing {
			continue
		}
		if !locked {
			locked = true
			c.mu.Lock()
		}
		if !c.closing {
			c.onReadLocked(ev)
			continue
		}
		c.in.over = lastWord
		over = over || ev == lastAcked
	}
	if locked {
		c.mu.Unlock()
	}
	return over
}
