package pass

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// duplex is one end of a connection in memory that can be half-closed. It uses two pipes, which
// buffer nothing.
type duplex struct {
	net.Conn // to read from
	w        net.Conn
}

func (d duplex) Write(p []byte) (int, error) { return d.w.Write(p) }
func (d duplex) CloseWrite() error           { return d.w.Close() }

func (d duplex) Close() error {
	_ = d.w.Close()
	return d.Conn.Close()
}

func pipes() (a, b duplex) {
	r1, w1 := net.Pipe()
	r2, w2 := net.Pipe()
	return duplex{r1, w2}, duplex{r2, w1}
}

// end is what one end has read, by a goroutine that reads to the end.
type end struct {
	duplex

	mu  sync.Mutex
	got bytes.Buffer
	eof bool
}

func (e *end) read() {
	buf := make([]byte, 100)
	for {
		n, err := e.Read(buf)
		e.mu.Lock()
		e.got.Write(buf[:n])
		e.eof = err == io.EOF
		e.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// has returns what was read so far, and whether the other side has ended.
func (e *end) has() (got []byte, eof bool) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return bytes.Clone(e.got.Bytes()), e.eof
}

// rig is a Link in a bubble, between two ends that read all the time.
type rig struct {
	client, upstream *end
	link             *Link
	done             chan struct{}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	client, clientSide := pipes()
	upstreamSide, upstream := pipes()
	r := &rig{client: &end{duplex: client}, upstream: &end{duplex: upstream}, done: make(chan struct{})}
	r.link = New(NewSocket(clientSide), NewSocket(upstreamSide))
	go r.client.read()
	go r.upstream.read()
	r.link.Start(func() { close(r.done) })
	t.Cleanup(func() {
		_ = r.client.Close()
		_ = r.upstream.Close()
		<-r.done
	})
	return r
}

func (r *rig) ended() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// tcp returns both ends of a TCP connection.
func tcp(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	x, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, nc := range []net.Conn{x, y} {
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _ = nc.Close() })
	}
	return x.(*net.TCPConn), y.(*net.TCPConn)
}

// overTCP runs a Link over TCP, and returns the ends of the client and the upstream.
func overTCP(t *testing.T) (client, upstream *net.TCPConn, done <-chan struct{}) {
	t.Helper()
	client, clientSide := tcp(t)
	upstreamSide, upstream := tcp(t)
	_ = clientSide.SetDeadline(time.Time{})
	_ = upstreamSide.SetDeadline(time.Time{})
	ended := make(chan struct{})
	New(NewSocket(clientSide), NewSocket(upstreamSide)).Start(func() { close(ended) })
	t.Cleanup(func() {
		_ = client.Close()
		_ = upstream.Close()
		<-ended
	})
	return client, upstream, ended
}
