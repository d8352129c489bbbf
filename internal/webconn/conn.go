package webconn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h1conn"
)

// The protocols of a connection.
const (
	isUnknown = iota
	isNotHTTP2
	isHTTP1 // a request has been read
	isHTTP2
)

// conn is one accepted connection.
type conn struct {
	net.Conn // as accepted: the plaintext side

	srv     *Server
	silent  atomic.Pointer[func()] // ends the time in which the client has not spoken
	tracked atomic.Pointer[conns.Conn]

	protocol atomic.Uint32
	h1       *h1conn.Conn // set if isHTTP1
	h2       net.Conn     // set if isHTTP2
}

func (s *Server) newConn(nc net.Conn) *conn {
	c := new(conn)
	c.init(s, nc)
	return c
}

func (c *conn) init(s *Server, nc net.Conn) {
	c.Conn, c.srv = nc, s
	done := s.bal.Handshake(nc)
	c.silent.Store(&done)
}

func (c *conn) itself() *conn { return c }

// Carried returns the connection in the registry, nil as long as it is in none.
func (c *conn) Carried() *conns.Conn { return c.tracked.Load() }

// spoken notes that the client has begun to speak, or that the connection has ended.
func (c *conn) spoken() {
	if done := c.silent.Swap(nil); done != nil {
		(*done)()
	}
}

// takeHTTP2 has the frames followed that pass on nc.
func (c *conn) takeHTTP2(nc net.Conn) {
	c.h2 = c.srv.bal.Track(nc, authOf(c.Conn))
	c.tracked.Store(conns.FromAddr(c.h2.RemoteAddr()))
	c.protocol.Store(isHTTP2)
	c.spoken()
}

func (c *conn) takeHTTP1() {
	c.h1 = c.srv.bal.TrackHTTP1(c.Conn, authOf(c.Conn))
	c.tracked.Store(conns.FromAddr(c.h1.RemoteAddr()))
	c.protocol.Store(isHTTP1)
	c.spoken()
}

// moved follows the requests of an HTTP/1.1 connection. net/http calls it from the goroutine
// that serves the connection.
func (c *conn) moved(to http.ConnState) {
	protocol := c.protocol.Load()
	switch {
	case protocol == isHTTP2 && to == http.StateHijacked:
		c.srv.take(c)
	case protocol == isHTTP2:
	case to == http.StateActive && protocol != isHTTP1:
		c.takeHTTP1()
		c.h1.Begin()
	case to == http.StateActive:
		c.h1.Begin()
	case to == http.StateIdle && protocol == isHTTP1:
		c.h1.End()
	}
	if to == http.StateClosed || to == http.StateHijacked {
		c.srv.leave(c, to == http.StateHijacked)
	}
}

func (c *conn) Read(p []byte) (int, error) {
	switch c.protocol.Load() {
	case isHTTP2:
		return c.h2.Read(p)
	case isUnknown:
		return c.readFirst(p)
	}
	n, err := c.Conn.Read(p)
	c.note(err)
	return n, err
}

// preface is how HTTP/2 begins. No request of HTTP/1.1 does.
const preface = "PRI"

// readFirst reads enough to tell HTTP/2 from HTTP/1.1.
func (c *conn) readFirst(p []byte) (n int, err error) {
	for more := true; more; {
		var m int
		m, err = c.Conn.Read(p[n:])
		n += m
		more = err == nil && n < min(len(p), len(preface)) && string(p[:n]) == preface[:n]
	}
	switch {
	case n == 0:
		return 0, err
	case bytes.HasPrefix(p[:n], []byte(preface)):
		c.takeHTTP2(&replay{Conn: c.Conn, first: bytes.Clone(p[:n])})
		return c.h2.Read(p)
	}
	c.protocol.Store(isNotHTTP2)
	c.spoken()
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.protocol.Load() == isHTTP2 {
		return c.h2.Write(p)
	}
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

// note takes an error of an HTTP/1.1 connection for the end of its client, unless this side has
// caused it. net/http sets a deadline after each request, to end a read in the background.
func (c *conn) note(err error) {
	if err == nil || c.protocol.Load() != isHTTP1 || errors.Is(err, net.ErrClosed) {
		return
	}
	//nolint:errorlint // straight from the connection; errors.As would allocate with each request
	if late, ok := err.(net.Error); !ok || !late.Timeout() {
		c.h1.Gone()
	}
}

func (c *conn) Close() error {
	c.spoken()
	switch c.protocol.Load() {
	case isHTTP2:
		c.srv.end(c)
		return c.h2.Close()
	case isHTTP1:
		return c.h1.Close()
	}
	return c.Conn.Close()
}

// CloseWrite half-closes the connection, as net/http does after some answers.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection as it was accepted, as that of a *tls.Conn. Reading or writing
// through it loses track of HTTP/2.
func (c *conn) NetConn() net.Conn { return c.Conn }

// plainConn is a conn that net/http takes for plaintext.
type plainConn struct{ conn }

// ReadFrom lets net/http send files without copying them.
func (c *plainConn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok && c.protocol.Load() != isHTTP2 {
		n, err := rf.ReadFrom(r)
		c.note(err)
		return n, err
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// SyscallConn returns that of the connection below.
func (c *plainConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// replay is a connection of which the first bytes have been read already.
type replay struct {
	net.Conn

	first []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.first) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.first)
	if r.first = r.first[n:]; len(r.first) == 0 {
		r.first = nil
	}
	return n, nil
}
