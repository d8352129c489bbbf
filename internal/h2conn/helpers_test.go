package h2conn

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// recorder is an Observer that records its calls.
type recorder struct {
	mu    sync.Mutex
	lines []string
	uses  []Use
	how   chan How
}

func newRecorder() *recorder { return &recorder{how: make(chan How, 8)} }

func (r *recorder) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) OnUse(u Use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses = append(r.uses, u)
}

func (r *recorder) OnGoAway(ours bool) { r.add("goaway ours=%t", ours) }
func (r *recorder) OnLost(err error)   { r.add("lost: %v", err) }
func (r *recorder) OnClose(h How)      { r.add("closed: %v", h); r.how <- h }

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

func (r *recorder) want(t tb, lines ...string) {
	t.Helper()
	if got := r.all(); !slices.Equal(got, lines) {
		t.Fatalf("observer calls:\n%q, want\n%q", got, lines)
	}
}

func wantState(t tb, c *Conn, want State) {
	t.Helper()
	if got := c.State(); got != want {
		t.Fatalf("state is %v, want %v", got, want)
	}
}

// wire composes frames.
type wire struct {
	bytes.Buffer
	*http2.Framer
}

func newWire() *wire {
	w := &wire{}
	w.Framer = http2.NewFramer(&w.Buffer, nil)
	w.AllowIllegalWrites = true
	return w
}

func (w *wire) take() []byte {
	b := bytes.Clone(w.Bytes())
	w.Reset()
	return b
}

// headers writes a HEADERS frame with an opaque header block.
func (w *wire) headers(id uint32, endHeaders, endStream bool) {
	_ = w.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: []byte("block"), EndHeaders: endHeaders, EndStream: endStream,
	})
}

// memConn is a connection that reads from a script and records what is written.
// Nothing in it blocks.
type memConn struct {
	net.Conn
	in  []byte
	out bytes.Buffer
	// limit, if positive, is the number of bytes that can be written in all.
	limit  int
	closed bool
}

func (m *memConn) Read(p []byte) (int, error) {
	n := copy(p, m.in)
	m.in = m.in[n:]
	return n, nil
}

func (m *memConn) Write(p []byte) (int, error) {
	if m.limit > 0 && m.out.Len()+len(p) > m.limit {
		n, _ := m.out.Write(p[:m.limit-m.out.Len()])
		return n, net.ErrClosed
	}
	return m.out.Write(p)
}

func (m *memConn) Close() error                     { m.closed = true; return nil }
func (m *memConn) RemoteAddr() net.Addr             { return memAddr{} }
func (m *memConn) LocalAddr() net.Addr              { return memAddr{} }
func (m *memConn) SetDeadline(time.Time) error      { return nil }
func (m *memConn) SetReadDeadline(time.Time) error  { return nil }
func (m *memConn) SetWriteDeadline(time.Time) error { return nil }

type memAddr struct{}

func (memAddr) Network() string { return "mem" }
func (memAddr) String() string  { return "mem" }

// tb is the part that *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// drainNow drains the connection without waiting for the write. It reports whether this
// call did it.
func drainNow(c *Conn, debug string, grace time.Duration) bool {
	flush := c.Drain(debug, grace)
	if flush != nil {
		go flush()
	}
	return flush != nil
}
