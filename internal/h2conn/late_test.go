package h2conn

import (
	"bytes"
	"net"
	"testing"
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

// A client may read the GOAWAY and close, and all of that be noticed, before the
// write of the GOAWAY has returned: it is told all the same, and before the end.
// One that could not be written is not told.
func TestClosedBeforeTheWriteReturns(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want []string
	}{
		{"written", nil, []string{"asked", "goaway own=true", "closed: server"}},
		{"not written", net.ErrClosed, []string{"asked", "closed: server"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn := &lateConn{out: make(chan struct{}), back: make(chan struct{}), err: tc.err}
			rec := newRecorder()
			c := New(conn, nil, rec)
			w := newWire()
			_ = w.WriteSettings()
			if _, err := c.Write(w.take()); err != nil {
				t.Fatal(err)
			}
			if !c.Leave("evenkeel: bye", 0) {
				t.Fatal("did not ask")
			}
			<-conn.out
			_ = c.Close()
			close(conn.back)
			<-rec.how
			rec.want(t, tc.want...)
		})
	}
}
