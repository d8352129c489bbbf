package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/rebalance"
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

// peer is a client or an upstream in memory. It reads all the time.
type peer struct {
	t *testing.T
	duplex

	mu    sync.Mutex
	got   bytes.Buffer
	eof   bool
	acked int // bytes of got in which PINGs were looked for
	acks  bool
}

func newPeer(t *testing.T, nc duplex) *peer {
	p := &peer{t: t, duplex: nc}
	go p.read()
	return p
}

func (p *peer) read() {
	buf := make([]byte, 1000)
	for {
		n, err := p.Read(buf)
		p.mu.Lock()
		p.got.Write(buf[:n])
		p.eof = p.eof || err != nil
		acks := p.pingsLocked()
		p.mu.Unlock()
		if len(acks) > 0 {
			_, _ = p.Write(acks)
		}
		if err != nil {
			return
		}
	}
}

// pingsLocked returns the acknowledgements of PINGs that have come.
func (p *peer) pingsLocked() []byte {
	if !p.acks {
		return nil
	}
	var out bytes.Buffer
	fr := http2.NewFramer(&out, bytes.NewReader(p.got.Bytes()[p.acked:]))
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return out.Bytes()
		}
		p.acked += 9 + int(f.Header().Length)
		if ping, ok := f.(*http2.PingFrame); ok && !ping.IsAck() {
			_ = fr.WritePing(true, ping.Data)
		}
	}
}

// send writes frames, or other bytes.
func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
	synctest.Wait()
}

func (p *peer) has() (got []byte, eof bool) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.got.Bytes()), p.eof
}

// frames composes frames.
func frames(compose func(*http2.Framer)) []byte {
	var b bytes.Buffer
	compose(http2.NewFramer(&b, nil))
	return b.Bytes()
}

func preface() []byte {
	return append([]byte(http2.ClientPreface), settings()...)
}

func settings() []byte { return frames(func(f *http2.Framer) { _ = f.WriteSettings() }) }

// headers is a request of the client, or the end of a stream by the server.
func headers(id uint32) []byte {
	return frames(func(f *http2.Framer) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x84}, EndHeaders: true, EndStream: true})
	})
}

// rig is a proxy in a bubble.
type rig struct {
	t     *testing.T
	bal   *rebalance.Balancer
	proxy *proxy
	dial  func() (net.Conn, error)
}

func newRig(t *testing.T, set ...string) *rig {
	t.Helper()
	cfg, err := config.Load(config.Layers{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	bal, err := rebalance.New(cfg, rebalance.WithLogger(slog.New(slog.DiscardHandler)), rebalance.WithSelf("pod", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, bal: bal}
	up := newUpstream(&options{upstream: "127.0.0.1:1"}, func(reached) {})
	up.dial = func(context.Context) (net.Conn, error) { return r.dial() }
	r.proxy = newProxy(inside.Of(bal), up, nil, slog.New(slog.DiscardHandler))
	t.Cleanup(r.proxy.Stop)
	return r
}

// connect returns a client and its upstream.
func (r *rig) connect() (client, upstream *peer) {
	near, far := pipes()
	r.dial = func() (net.Conn, error) { return near, nil }
	outside, in := pipes()
	r.proxy.accepted(in)
	synctest.Wait()
	client, upstream = newPeer(r.t, outside), newPeer(r.t, far)
	r.t.Cleanup(func() { _, _ = client.Close(), upstream.Close() })
	return client, upstream
}

// talk lets both sides begin HTTP/2, and the client open stream 1.
func (r *rig) talk() (client, upstream *peer) {
	client, upstream = r.connect()
	client.acks = true
	client.send(preface())
	upstream.send(settings())
	client.send(headers(1))
	return client, upstream
}

func (r *rig) wantConns(want int) {
	r.t.Helper()
	synctest.Wait()
	if got, _ := r.proxy.count(); got != want {
		r.t.Errorf("the proxy has %d connections, want %d", got, want)
	}
}

var _ io.Closer = duplex{}
