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

// lateConn lets the write of a GOAWAY return long after its bytes are out.
type lateConn struct {
	memConn

	out, back chan struct{}
	err       error
}

func (l *lateConn) Write(p []byte) (int, error) {
	n, _ := l.memConn.Write(p)
	if bytes.Contains(p, []byte("evenkeel: bye")) {
		close(l.out)
		<-l.back
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

// A client may read the GOAWAY and close, and all of that be noticed, before the
// write of the GOAWAY has returned: it is told all the same, and before the end.
// One that could not be written is not told.
func TestClosedBeforeTheWriteReturns(t *testing.T) {
	for _, tc := range []struct {
		name    string
		server  bool // it is the server's own GOAWAY
		eof     bool // the client's EOF has been read
		streams bool // there is a stream in flight
		err     error
		want    []string
	}{
		{name: "ours", want: []string{"goaway ours=true", "closed: server"}},
		{name: "ours, not written", err: net.ErrClosed, want: []string{"closed: server"}},
		{name: "ours, pipe", err: io.ErrClosedPipe, want: []string{"closed: server"}},
		{
			name: "ours, EOF", eof: true,
			want: []string{"goaway ours=true", "closed: client"},
		},
		{
			name: "ours, EOF, a stream", eof: true, streams: true,
			want: []string{"goaway ours=true", "closed: client"},
		},
		{name: "the server's", server: true, want: []string{"goaway ours=false", "closed: server"}},
		{
			name: "the server's, EOF", server: true, eof: true,
			want: []string{"goaway ours=false", "closed: client"},
		},
		{name: "the server's, not written", server: true, err: net.ErrClosed, want: []string{"closed: server"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := &lateConn{out: make(chan struct{}), back: make(chan struct{}), err: tc.err}
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
				if tc.server {
					_ = w.WriteGoAway(maxStreamID, http2.ErrCodeNo, []byte("evenkeel: bye"))
					b := w.take()
					go func() { _, _ = c.Write(b) }()
				} else if !c.Drain("evenkeel: bye", time.Hour) {
					t.Fatal("did not ask")
				}
				<-conn.out
				if tc.eof {
					_, _ = c.Read(make([]byte, 1))
				}
				if tc.server {
					wantState(t, c, Open)
				} else {
					wantState(t, c, Draining)
				}
				_ = c.Close()
				synctest.Wait()
				select {
				case <-rec.how:
					t.Error("the end was told while the write was under way")
				default:
				}
				if open, _ := c.Streams(); c.State() != Closed || open != 0 || c.Drain("", 0) {
					t.Errorf("it is %v, %d streams in flight", c.State(), open)
				}
				close(conn.back)
				<-rec.how
				synctest.Wait()
				rec.want(t, tc.want...)
				wantState(t, c, Closed)
				if c.drain != nil && c.drain.closeTimer != nil {
					t.Error("a timer was set after the end")
				}
			})
		})
	}
}

// A writer that is stuck is freed when its connection is closed, and then the end is
// told.
func TestEndOfAStuckWriter(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.mu.Lock()
		p.paused = make(chan struct{})
		p.mu.Unlock()
		_ = p.w.WriteSettingsAck()
		p.fromServer() // ends the client's ReadFrame; then it pauses
		for range 3 {
			go func() { _, _ = p.c.Write(make([]byte, 1000)) }()
		}
		synctest.Wait()
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		close(p.paused)
	})
}

// The same after a GOAWAY: that a write to a closed connection fails proves nothing of
// the client.
func TestEndOfAStuckWriterThatLeaves(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		p.leave(0)
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

// newLate returns a connection that has one stream; the server's SETTINGS are out.
func newLate(t *testing.T, err error) (*Conn, *lateConn, *recorder) {
	conn := &lateConn{out: make(chan struct{}), back: make(chan struct{}), err: err}
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

// leaves asks a connection with a stream, and has the client acknowledge.
func (l *lateConn) leaves(c *Conn) {
	c.Drain("x", 0)
	time.Sleep(holdWait)
	synctest.Wait()
	w := newWire()
	_ = w.WritePing(true, proofData)
	l.in = w.take()
	_, _ = c.Read(make([]byte, 100))
}

// The last stream may end with a write that returns after the end.
func TestLastStreamAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		conn.leaves(c)
		w := newWire()
		_ = w.WriteData(1, true, []byte("evenkeel: bye"))
		b := w.take()
		wantState(t, c, Acknowledged)
		go func() { _, _ = c.Write(b) }()
		<-conn.out
		before := conn.memConn.out.Len()
		_ = c.Close()
		close(conn.back)
		<-rec.how
		synctest.Wait()
		if n := conn.memConn.out.Len() - before; n != 0 {
			t.Errorf("%d bytes after the end", n)
		}
		rec.want(t, "goaway ours=true", "closed: server")
		wantState(t, c, Closed)
	})
}

// Who is asked to leave while a write is under way, and closed before it returns, gets
// no GOAWAY.
func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		w := newWire()
		_ = w.WriteData(1, false, []byte("evenkeel: bye"))
		b := w.take()
		go func() { _, _ = c.Write(b) }()
		<-conn.out
		before := conn.memConn.out.Len()
		c.Drain("x", 0)
		wantState(t, c, Draining)
		_ = c.Close()
		close(conn.back)
		<-rec.how
		synctest.Wait()
		if n := conn.memConn.out.Len() - before; n != 0 {
			t.Errorf("%d bytes after the end", n)
		}
		rec.want(t, "closed: server")
	})
}

// A write that fails because the client is gone is the client's end of the connection, and
// no loss of frames.
func TestWriteToAClientThatIsGone(t *testing.T) {
	c, conn, rec := newLate(t, syscall.EPIPE)
	close(conn.back)
	w := newWire()
	_ = w.WriteData(1, false, []byte("evenkeel: bye"))
	if _, err := c.Write(w.take()); err == nil || c.Lost() != nil {
		t.Errorf("%v, lost: %v", err, c.Lost())
	}
	if c.Drain("x", 0) {
		t.Error("asked a client that is gone")
	}
	wantState(t, c, Open)
	_ = c.Close()
	rec.want(t, "closed: client")
}

// Nothing has to be proved to a client that is gone.
func TestNoProofAfterEOF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		conn.leaves(c)
		wantState(t, c, Acknowledged)
		_, _ = c.Read(make([]byte, 1))
		wantState(t, c, Acknowledged)
		w := newWire()
		w.headers(1, true, true)
		writeSome(t, c, w.take(), 100)
		synctest.Wait()
		wantState(t, c, Idle)
		if n := bytes.Count(conn.memConn.out.Bytes(), proofData[:]); n != 1 {
			t.Errorf("%d PINGs", n)
		}
		_ = c.Close()
		rec.want(t, "goaway ours=true", "closed: client")
	})
}

// A client that has closed its side counts as one that has acknowledged the GOAWAY.
func TestEOFAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn, rec := newLate(t, nil)
		c.Drain("x", 0)
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
		rec.want(t, "goaway ours=true", "closed: client")
		if !conn.closed {
			t.Error("the connection below is not closed")
		}
	})
}

// stuckHalf takes as long as it likes to half-close.
type stuckHalf struct {
	net.Conn

	half, closed chan struct{}
	once         sync.Once
}

func (s *stuckHalf) CloseWrite() error {
	close(s.half)
	<-s.closed
	return net.ErrClosed
}

func (s *stuckHalf) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// The end may come in the middle of the half-close, which has the turn, too.
func TestEndWithinTheHalfClose(t *testing.T) {
	var half chan struct{}
	ends := func() (net.Conn, net.Conn) {
		srv, cli := net.Pipe()
		half = make(chan struct{})
		return &stuckHalf{Conn: srv, half: half, closed: make(chan struct{})}, cli
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, ends)
		p.leave(0)
		p.state(Idle)
		<-half
		p.closedAfter(wantEOFWait, Clean)
	})
}
