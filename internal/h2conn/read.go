package h2conn

import (
	"io"
	"net"

	"google.golang.org/grpc/mem"
)

// readyReader is what grpc-go looks for in a connection that needs no read
// buffer while it is idle.
type readyReader interface {
	ReadOnReady(bufSize int, pool mem.BufferPool) (*[]byte, int, error)
}

var _ readyReader = (*Conn)(nil)

// Read passes on what comes from the client.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received(p[:max(0, min(n, len(p)))], err)
	return n, err
}

// ReadOnReady waits for data and only then takes a buffer of bufSize from the
// pool, so that an idle connection holds none. It returns the buffer, which
// goes back to the pool when the caller is done with it, and how much of it was
// read. Without any bytes there is no buffer; bytes that come with an error count.
//
// TCP and Unix sockets are waited for; a connection below that has a
// ReadOnReady of its own is asked; any other one (TLS) is read with a buffer in
// hand.
func (c *Conn) ReadOnReady(bufSize int, pool mem.BufferPool) (*[]byte, int, error) {
	if c.ready == nil {
		c.ready = readyReaderOf(c.Conn)
	}
	buf, n, err := c.ready.ReadOnReady(bufSize, pool)
	if buf != nil {
		c.received((*buf)[:max(0, min(n, len(*buf)))], err)
	} else {
		c.received(nil, err)
	}
	return buf, n, err
}

func readyReaderOf(nc net.Conn) readyReader {
	if r, ok := nc.(readyReader); ok {
		return r
	}
	if r := newRawReader(nc); r != nil {
		return r
	}
	return blockingReader{nc}
}

type blockingReader struct{ r io.Reader }

func (b blockingReader) ReadOnReady(bufSize int, pool mem.BufferPool) (*[]byte, int, error) {
	buf := pool.Get(bufSize)
	n, err := b.r.Read(*buf)
	if err != nil && n == 0 {
		pool.Put(buf)
		return nil, 0, err
	}
	return buf, n, err
}

// received follows what was read.
func (c *Conn) received(p []byte, err error) {
	for len(p) > 0 {
		var ev event
		if p, ev = c.in.next(p); ev != nothing {
			c.onRead(ev)
		}
	}
	if err != nil {
		c.readFailed(err)
	}
	c.tellNews()
}
