package h2conn

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// link is the connection below a Conn, with a client at its other end. It keeps all bytes of
// both directions. Its client may read as slowly as it likes, and it can fail at any byte.
type link struct {
	mu      sync.Mutex
	changed *sync.Cond

	in, out         []byte // all that the client and the Conn have ever written
	inRead, outRead int    // how far the Conn and the client have read
	room            int    // how many unread bytes of out fit
	resetIn         int    // the link is reset once so much has been read; -1: never
	resetOut        int    // the link is reset once so much has been written; -1: never
	deadlineAt      int    // a write stops there with a deadline error; -1: none does

	reset, gone, half, closed bool // gone: the client has closed
	halfAt, closedAt          time.Time
	closedFull                bool // the client had as much to read as fits
}

func newLink(room int) *link {
	l := &link{room: room, resetIn: -1, resetOut: -1, deadlineAt: -1}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// Read is called by the Conn.
func (l *link) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.inRead == len(l.in) && !l.gone && !l.closed && !l.reset {
		l.changed.Wait()
	}
	switch {
	case l.closed:
		return 0, net.ErrClosed
	case l.reset:
		return 0, syscall.ECONNRESET
	case l.inRead == len(l.in):
		return 0, io.EOF
	}
	n := copy(p, l.in[l.inRead:])
	if l.resetIn >= l.inRead {
		n = min(n, l.resetIn-l.inRead)
	}
	l.inRead += n
	if l.inRead == l.resetIn {
		l.resetLocked()
	}
	if n == 0 && len(p) > 0 {
		return 0, syscall.ECONNRESET
	}
	return n, nil
}

// Write is called by the Conn. It blocks while the client has too much to read.
func (l *link) Write(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed || l.half:
			return n, net.ErrClosed
		case l.reset || l.gone:
			return n, syscall.ECONNRESET
		case len(l.out) == l.deadlineAt:
			l.deadlineAt = -1
			return n, os.ErrDeadlineExceeded
		case n == len(p):
			return n, nil
		case l.room == len(l.out)-l.outRead:
			l.changed.Wait()
			continue
		}
		m := min(len(p)-n, l.room-len(l.out)+l.outRead)
		for _, stop := range []int{l.resetOut, l.deadlineAt} {
			if stop > len(l.out) {
				m = min(m, stop-len(l.out))
			}
		}
		l.out = append(l.out, p[n:n+m]...)
		n += m
		if len(l.out) == l.resetOut {
			l.resetLocked()
		}
	}
}

func (l *link) resetLocked() {
	l.reset = true
	l.changed.Broadcast()
}

// Close is called by the Conn.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed, l.closedAt = true, time.Now()
		l.closedFull = l.room == len(l.out)-l.outRead
	}
	l.changed.Broadcast()
	return nil
}

func (l *link) closeWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.half, l.halfAt = true, time.Now()
	l.changed.Broadcast()
	return nil
}

// send is called by the client.
func (l *link) send(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.gone && !l.closed && !l.reset {
		l.in = append(l.in, b...)
	}
	l.changed.Broadcast()
}

// receive is called by the client. It returns at most n unread bytes, and whether nothing
// can follow them.
func (l *link) receive(n int) (b []byte, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = l.out[l.outRead:min(len(l.out), l.outRead+n)]
	l.outRead += len(b)
	l.changed.Broadcast()
	return b, l.outRead == len(l.out) && (l.half || l.closed || l.reset)
}

// resize lets the client's buffer have room for n bytes more than it has now.
func (l *link) resize(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room = len(l.out) - l.outRead + n
	l.changed.Broadcast()
}

// progress returns how much the Conn has written, and how much of it the client has read.
func (l *link) progress() (out, read int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.out), l.outRead
}

// fail lets the link fail n bytes from here. point returns where that is kept, and what is
// counted.
func (l *link) fail(point func(*link) (at *int, from int), n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, from := point(l)
	*at = from + n
	return *at
}

// hangUp is called by the client.
func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	l.changed.Broadcast()
}

func (l *link) LocalAddr() net.Addr              { return memAddr{} }
func (l *link) RemoteAddr() net.Addr             { return memAddr{} }
func (l *link) SetDeadline(time.Time) error      { return nil }
func (l *link) SetReadDeadline(time.Time) error  { return nil }
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// halfLink is a link that can be half-closed, like TCP.
type halfLink struct{ *link }

func (l halfLink) CloseWrite() error { return l.closeWrite() }
