package h2conn

import (
	"bytes"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// lateConn is a connection on which one write returns long after its bytes are out: the
// write that contains lateMark. written is closed when they are out; the write returns
// once release is closed.
type lateConn struct {
	memConn

	written, release chan struct{}
	err              error
}

const lateMark = "evenkeel: bye"

func (l *lateConn) Write(p []byte) (int, error) {
	n, _ := l.memConn.Write(p)
	if bytes.Contains(p, []byte(lateMark)) {
		close(l.written)
		<-l.release
		if l.err != nil {
			return 0, l.err
		}
	}
	return n, nil
}

func (l *lateConn) Read(p []byte) (int, error) {
	if len(l.in) == 0 {
		return 0, io.EOF
	}
	return l.memConn.Read(p)
}

// A client may read the GOAWAY and close before the write of the GOAWAY has returned.
// OnGoAway is called even then, and before OnClose. It is not called for a GOAWAY that
// could not be written.
func TestClosedBeforeTheWriteReturns(t *testing.T) {
	const ours, servers = "goaway ours=true", "goaway ours=false"
	for _, tc := range []lateCase{
		{name: "ours", want: []string{ours, "closed: server"}},
		{name: "ours, not written", err: net.ErrClosed, want: []string{"closed: server"}},
		{name: "ours, pipe", err: io.ErrClosedPipe, want: []string{"closed: server"}},
		{name: "ours, EOF", eof: true, want: []string{ours, "closed: clean"}},
		{name: "ours, EOF, a stream", eof: true, streams: true, want: []string{ours, "closed: client"}},
		{name: "the server's", server: true, want: []string{servers, "closed: server"}},
		{name: "the server's, EOF", server: true, eof: true, want: []string{servers, "closed: clean"}},
		{name: "the server's, not written", server: true, err: net.ErrClosed, want: []string{"closed: server"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { closedBeforeTheWriteReturns(t, tc) })
		})
	}
}

type lateCase struct {
	name    string
	server  bool // the GOAWAY is the server's own
	eof     bool // the client's EOF has been read
	streams bool // a stream is in flight
	err     error
	want    []string
}

func closedBeforeTheWriteReturns(t *testing.T, tc lateCase) {
	conn := &lateConn{written: make(chan struct{}), release: make(chan struct{}), err: tc.err}
	rec := newRecorder()
	c := New(conn, nil, rec)
	w := newWire()
	w.WriteString(http2.ClientPreface)
	if tc.streams {
		w.headers(1, true, true)
	}
	conn.in = w.take()
	_, _ = c.Read(make([]byte, 100))
	_ = w.WriteSettings()
	writeSome(t, c, w.take(), 100)
	before := Draining
	if tc.server {
		before = Open
		_ = w.WriteGoAway(maxStreamID, http2.ErrCodeNo, []byte(lateMark))
		b := w.take()
		go func() { _, _ = c.Write(b) }()
	} else if !drainNow(c, lateMark, time.Hour) {
		t.Fatal("Drain returned false")
	}
	<-conn.written
	if tc.eof {
		_, _ = c.Read(make([]byte, 1))
	}
	wantState(t, c, before)
	_ = c.Close()
	synctest.Wait()
	select {
	case <-rec.how:
		t.Error("OnClose was called while the write was under way")
	default:
	}
	if open, _ := c.Streams(); c.State() != Closed || open != 0 || drainNow(c, "", 0) {
		t.Errorf("state %v, %d streams in flight, or Drain returned true; want %v, 0, false", c.State(), open, Closed)
	}
	close(conn.release)
	<-rec.how
	synctest.Wait()
	rec.want(t, tc.want...)
	wantState(t, c, Closed)
	if c.drain != nil && c.drain.closeTimer != nil {
		t.Error("a timer was set after the connection had ended")
	}
}

// Closing the connection frees a stuck writer. OnClose is called then.
func TestCloseFreesStuckWriter(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.mu.Lock()
		p.paused = make(chan struct{})
		p.mu.Unlock()
		_ = p.w.WriteSettingsAck()
		p.fromServer() // lets the client return from ReadFrame and pause
		for range 3 {
			go func() { _, _ = p.c.Write(make([]byte, 1000)) }()
		}
		synctest.Wait()
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		close(p.paused)
	})
}

// The same holds after a GOAWAY. That a write to a closed connection fails proves
// nothing about the client.
func TestCloseFreesStuckWriterWhileDraining(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		p.drain(0)
		p.mu.Lock()
		p.paused = make(chan struct{})
		p.mu.Unlock()
		_ = p.w.WriteSettingsAck()
		p.fromServer()
		_ = p.w.WriteSettingsAck()
		b := p.w.take()
		go func() { _, _ = p.c.Write(b) }()
		synctest.Wait()
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(p.t, "goaway ours=true", "closed: server")
		p.walked(Open, Draining, Closed)
		close(p.paused)
	})
}

// newLate returns a connection with one stream open, on which the server has sent its
// SETTINGS.
func newLate(t *testing.T, err error) (*Conn, *lateConn, *recorder) {
	conn := &lateConn{written: make(chan struct{}), release: make(chan struct{}), err: err}
	rec := newRecorder()
	c := New(conn, nil, rec)
	w := newWire()
	w.WriteString(http2.ClientPreface)
	w.headers(1, true, true)
	conn.in = w.take()
	_, _ = c.Read(make([]byte, 100))
	_ = w.WriteSettings()
	writeSome(t, c, w.take(), 100)
	return c, conn, rec
}

// acknowledge drains c, and lets the client acknowledge the GOAWAY.
func (l *lateConn) acknowledge(c *Conn) {
	drainNow(c, "x", 0)
	time.Sleep(holdWait)
	synctest.Wait()
	w := newWire()
	_ = w.WritePing(true, proofData)
	l.in = w.take()
	_, _ = c.Read(make([]byte, 100))
}

// The last stream may end with a write that returns after the connection has ended.
func TestLastStreamEndsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		conn.acknowledge(c)
		w := newWire()
		_ = w.WriteData(1, true, []byte(lateMark))
		b := w.take()
		wantState(t, c, Acknowledged)
		go func() { _, _ = c.Write(b) }()
		<-conn.written
		before := conn.out.Len()
		_ = c.Close()
		close(conn.release)
		<-rec.how
		synctest.Wait()
		if n := conn.out.Len() - before; n != 0 {
			t.Errorf("%d bytes were written after Close, want 0", n)
		}
		rec.want(t, "goaway ours=true", "closed: server")
		wantState(t, c, Closed)
	})
}

// A connection that is drained and closed during one write gets no GOAWAY.
func TestNothingIsWrittenAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		w := newWire()
		_ = w.WriteData(1, false, []byte(lateMark))
		b := w.take()
		go func() { _, _ = c.Write(b) }()
		<-conn.written
		before := conn.out.Len()
		drainNow(c, "x", 0)
		wantState(t, c, Draining)
		_ = c.Close()
		close(conn.release)
		<-rec.how
		synctest.Wait()
		if n := conn.out.Len() - before; n != 0 {
			t.Errorf("%d bytes were written after Close, want 0", n)
		}
		rec.want(t, "closed: server")
	})
}

// If a write fails because the client is gone, the client has ended the connection. The
// frames are not lost.
func TestWriteToGoneClient(t *testing.T) {
	c, conn, rec := newLate(t, syscall.EPIPE)
	close(conn.release)
	w := newWire()
	_ = w.WriteData(1, false, []byte(lateMark))
	if _, err := c.Write(w.take()); err == nil || c.Lost() != nil {
		t.Errorf("Write returned %v, lost: %v; want an error, not lost", err, c.Lost())
	}
	if drainNow(c, "x", 0) {
		t.Error("Drain returned true although the client is gone")
	}
	wantState(t, c, Open)
	_ = c.Close()
	rec.want(t, "closed: client")
}

// A client that is gone gets no second proof PING.
func TestNoProofAfterEOF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		conn.acknowledge(c)
		wantState(t, c, Acknowledged)
		_, _ = c.Read(make([]byte, 1))
		wantState(t, c, Acknowledged)
		w := newWire()
		w.headers(1, true, true)
		writeSome(t, c, w.take(), 100)
		synctest.Wait()
		wantState(t, c, Idle)
		if n := bytes.Count(conn.out.Bytes(), proofData[:]); n != 1 {
			t.Errorf("%d proof PINGs, want 1", n)
		}
		_ = c.Close()
		rec.want(t, "goaway ours=true", "closed: clean")
	})
}

// The client's EOF counts as an acknowledgement of the GOAWAY.
func TestEOFAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		drainNow(c, "x", 0)
		time.Sleep(holdWait)
		synctest.Wait()
		wantState(t, c, Draining)
		_, _ = c.Read(make([]byte, 1))
		wantState(t, c, Acknowledged)
		w := newWire()
		w.headers(1, true, true)
		writeSome(t, c, w.take(), 100)
		wantState(t, c, Idle)
		_ = c.Close()
		rec.want(t, "goaway ours=true", "closed: clean")
		if !conn.closed {
			t.Error("the connection below is not closed")
		}
	})
}

// stuckHalf is a connection whose half-close returns only after Close.
type stuckHalf struct {
	net.Conn

	begun, closed chan struct{}
	once          sync.Once
}

func (s *stuckHalf) CloseWrite() error {
	close(s.begun)
	<-s.closed
	return net.ErrClosed
}

func (s *stuckHalf) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// The connection may be closed during the half-close, which holds the write lock, too.
func TestCloseDuringHalfClose(t *testing.T) {
	var begun chan struct{}
	ends := func() (net.Conn, net.Conn) {
		srv, cli := net.Pipe()
		begun = make(chan struct{})
		return &stuckHalf{Conn: srv, begun: begun, closed: make(chan struct{})}, cli
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, ends)
		p.drain(0)
		p.state(Idle)
		<-begun
		p.closedAfter(wantEOFWait, Clean)
	})
}
