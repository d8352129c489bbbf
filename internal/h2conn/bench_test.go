package h2conn

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// nullConn reads the same bytes again and again, and discards what is written.
type nullConn struct {
	memConn
	again []byte
}

func (n *nullConn) Read(p []byte) (int, error)  { return copy(p, n.again), nil }
func (n *nullConn) Write(p []byte) (int, error) { return len(p), nil }

const framesPerCall = 64

// newGreeted returns a connection on which both prefaces have passed.
func newGreeted(tb testing.TB, nc *nullConn) *Conn {
	c := New(nc, nil, nil)
	w := newWire()
	w.WriteString(http2.ClientPreface)
	_ = w.WriteSettings()
	nc.again = w.take()
	if _, err := c.Read(make([]byte, len(nc.again))); err != nil {
		tb.Fatal(err)
	}
	_ = w.WriteSettings()
	if _, err := c.Write(w.take()); err != nil {
		tb.Fatal(err)
	}
	return c
}

// renumber gives each frame in b a new stream ID, so that each one counts.
func renumber(b []byte, next *uint32) {
	for len(b) > 0 {
		*next = (*next + 2) & maxStreamID
		binary.BigEndian.PutUint32(b[5:], *next)
		b = b[frameHeaderLen+int(b[2]):]
	}
}

func perFrame(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/framesPerCall, "ns/frame")
	b.ReportAllocs()
}

func dataFrames() []byte {
	w := newWire()
	for range framesPerCall {
		_ = w.WriteData(1, false, make([]byte, 100))
	}
	return w.take()
}

func headersFrames() []byte {
	w := newWire()
	for range framesPerCall {
		w.headers(1, true, true)
	}
	return w.take()
}

func BenchmarkReadData(b *testing.B) {
	nc := &nullConn{}
	c := newGreeted(b, nc)
	nc.again = dataFrames()
	buf := make([]byte, len(nc.again))
	for b.Loop() {
		_, _ = c.Read(buf)
	}
	perFrame(b)
}

func BenchmarkWriteData(b *testing.B) {
	c := newGreeted(b, &nullConn{})
	frames := dataFrames()
	for b.Loop() {
		_, _ = c.Write(frames)
	}
	perFrame(b)
}

// BenchmarkHeaders opens and ends 64 streams, as that many small RPCs would. A frame
// here means one HEADERS in each direction.
func BenchmarkHeaders(b *testing.B) {
	nc := &nullConn{}
	c := newGreeted(b, nc)
	nc.again = headersFrames()
	buf := make([]byte, len(nc.again))
	id := uint32(1<<32 - 1) // becomes 1
	for b.Loop() {
		renumber(nc.again, &id)
		if id < c.streams.newest {
			c.streams.newest = 0 // the IDs are used up
		}
		_, _ = c.Read(buf)
		_, _ = c.Write(nc.again)
	}
	if open, _ := c.Streams(); open != 0 {
		b.Fatalf("%d streams open", open)
	}
	perFrame(b)
}

// number gives every frame in b the same stream ID.
func number(b []byte, id uint32) {
	for len(b) > 0 {
		binary.BigEndian.PutUint32(b[5:], id)
		b = b[frameHeaderLen+int(b[2]):]
	}
}

// BenchmarkUnary follows the frames of one unary RPC as grpc-go sends them: a read of
// HEADERS and DATA, and a write of HEADERS, DATA and the trailers.
func BenchmarkUnary(b *testing.B) {
	nc := &nullConn{}
	c := newGreeted(b, nc)
	w := newWire()
	w.headers(1, true, false)
	_ = w.WriteData(1, true, make([]byte, 20))
	nc.again = w.take()
	w.headers(1, true, false)
	_ = w.WriteData(1, false, make([]byte, 20))
	w.headers(1, true, true)
	answer := w.take()
	buf := make([]byte, len(nc.again))
	id := uint32(1<<32 - 1) // becomes 1
	b.ReportAllocs()
	for b.Loop() {
		id += 2
		if id&maxStreamID < c.streams.newest {
			id, c.streams.newest = 1, 0 // the IDs are used up
		}
		number(nc.again, id)
		number(answer, id)
		_, _ = c.Read(buf)
		_, _ = c.Write(answer)
	}
	if open, _ := c.Streams(); open != 0 {
		b.Fatalf("%d streams open", open)
	}
}

// BenchmarkMessage follows one message of a bidi stream in each direction.
func BenchmarkMessage(b *testing.B) {
	nc := &nullConn{}
	c := newGreeted(b, nc)
	w := newWire()
	_ = w.WriteData(1, false, make([]byte, 20))
	nc.again = w.take()
	answer := nc.again
	buf := make([]byte, len(nc.again))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Read(buf)
		_, _ = c.Write(answer)
	}
}

// idleBytes returns the heap bytes that a Conn costs beyond the connection below. It has
// served some calls and waits for its next frame.
func idleBytes(tb testing.TB, n int, below net.Conn) float64 {
	tb.Helper()
	conns := make([]*Conn, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // only the second collection empties a pool
	runtime.ReadMemStats(&before)
	for i := range conns {
		c := New(below, nil, nil)
		c.ready = c.readyReader()
		for id := range uint32(4) {
			c.streams.add(2*id + 1)
		}
		c.streams.refuseAbove(0)
		c.streams.limit = maxStreamID
		conns[i] = c
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(conns)
	if cap(conns[0].streams.ids) == 0 {
		tb.Fatal("the connections keep no room for streams, so it is not measured")
	}
	return float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
}

// BenchmarkIdleConnection measures what a real server pays for each idle connection,
// with and without a Conn. The client's socket is included.
func BenchmarkIdleConnection(b *testing.B) {
	for name, tr := range transports(b) {
		if name != "tcp" && name != "tls" {
			continue
		}
		for _, wrapped := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/wrapped=%t", name, wrapped), func(b *testing.B) {
				for b.Loop() {
					b.ReportMetric(idleServer(b, tr, wrapped, 400), "B/conn")
				}
			})
		}
	}
}

func idleServer(b *testing.B, tr transport, wrapped bool, n int) float64 {
	lis, _, _ := tr.listen(b)
	creds := tr.server
	if wrapped {
		creds = &bareWrapping{creds}
	}
	srv := grpc.NewServer(grpc.Creds(creds))
	go func() { _ = srv.Serve(lis) }()
	defer srv.Stop()
	dial := func() net.Conn { return idleClient(b, tr, lis.Addr().String()) }
	defer dial().Close() // fills the pools
	var before, after runtime.MemStats
	collect(&before)
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dial()
	}
	collect(&after)
	for _, c := range conns {
		_ = c.Close()
	}
	return float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(n)
}

// collect runs the collector often enough to empty the pools.
func collect(m *runtime.MemStats) {
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(m)
}

// bareWrapping wraps connections without recording them.
type bareWrapping struct {
	credentials.TransportCredentials
}

func (w *bareWrapping) Clone() credentials.TransportCredentials { return w }

func (w *bareWrapping) ServerHandshake(nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	nc, info, err := w.TransportCredentials.ServerHandshake(nc)
	if err != nil {
		return nil, nil, err
	}
	return New(nc, nil, nil), info, nil
}

// idleClient connects, and exchanges SETTINGS and a PING.
func idleClient(b *testing.B, tr transport, addr string) net.Conn {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	if nc, _, err = tr.client.ClientHandshake(b.Context(), "test", nc); err != nil {
		b.Fatal(err)
	}
	_, _ = io.WriteString(nc, http2.ClientPreface)
	fr := http2.NewFramer(nc, nc)
	_ = fr.WriteSettings()
	_ = fr.WriteSettingsAck()
	_ = fr.WritePing(false, [8]byte{})
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := f.(*http2.PingFrame); ok {
			return nc
		}
	}
}
