package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/cmd/evenkeel-sidecar/internal/acks"
	"github.com/evenkeel-go/evenkeel/cmd/evenkeel-sidecar/internal/pass"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
)

// handshakeTimeout is that of grpc-go.
const handshakeTimeout = 2 * time.Minute

// proxy accepts clients and passes their bytes on. To a Balancer it is a server.
type proxy struct {
	bal  inside.Tracker
	up   *upstream
	tls  *tls.Config // nil for plaintext
	log  *slog.Logger
	stop context.Context // done when everything is to end at once
	end  context.CancelFunc

	mu    sync.Mutex // guards what follows
	ln    net.Listener
	done  bool // no further client is accepted
	links map[*link]struct{}
	wg    sync.WaitGroup // of the clients that are being joined, and of links
}

// link is a client's connection that is passed on.
type link struct {
	*pass.Link
	conn   *h2conn.Conn
	server net.Conn
}

func newProxy(bal inside.Tracker, up *upstream, cfg *tls.Config, log *slog.Logger) *proxy {
	p := &proxy{bal: bal, up: up, tls: cfg, log: log, links: make(map[*link]struct{})}
	p.stop, p.end = context.WithCancel(context.Background())
	return p
}

// serve accepts clients on ln until the proxy stops. It then returns nil.
func (p *proxy) serve(ln net.Listener) error {
	p.mu.Lock()
	p.ln = ln
	done := p.done
	p.mu.Unlock()
	if done {
		return ln.Close()
	}
	for wait := time.Duration(0); ; {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			wait = 0
			p.accepted(nc)
		case p.stopped():
			return nil
		case !isShortage(err):
			return err
		default:
			wait = min(max(5*time.Millisecond, 2*wait), time.Second)
			p.log.Warn("a connection cannot be accepted", "error", err, "wait", wait)
			time.Sleep(wait)
		}
	}
}

// isShortage reports whether accepting may work later, as grpc-go does.
func isShortage(err error) bool {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
}

func (p *proxy) stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// accepted handles a client in a goroutine of its own.
func (p *proxy) accepted(nc net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		_ = nc.Close()
		return
	}
	p.wg.Go(func() { p.handle(nc) })
}

// handle joins a client with the upstream.
func (p *proxy) handle(raw net.Conn) {
	l := p.open(raw)
	if l == nil {
		return
	}
	if !p.add(l) {
		l.Close()
		return
	}
	l.Start(func() { p.ended(l) })
}

// ended is called at the end of a link.
func (p *proxy) ended(l *link) {
	p.remove(l)
	p.wg.Done()
	if l.UpstreamLeft() {
		p.up.recheck()
	}
}

// open connects a client to the upstream. A client whose upstream is away is reset: it sees
// what it would see without the sidecar, and tries another pod. An answer would be worse,
// because a client that gets one believes that this pod works.
func (p *proxy) open(raw net.Conn) *link {
	done := p.bal.Handshake(raw)
	defer done()
	nc, auth, err := p.handshake(raw)
	if err != nil {
		p.log.Debug("a TLS handshake has failed", "client", raw.RemoteAddr(), "error", err)
		_ = raw.Close()
		return nil
	}
	server, err := p.up.connect(p.stop, nc)
	if err != nil {
		pass.Abort(nc)
		_ = nc.Close()
		return nil
	}
	up := pass.NewSocket(server)
	conn, ok := p.bal.Track(pass.Hooked(nc, func() { _ = up.Close() }), auth).(*h2conn.Conn)
	if !ok {
		panic("evenkeel-sidecar: Track returned something else than an h2conn.Conn")
	}
	return &link{Link: pass.New(&client{conn, nc}, acks.New(up)), conn: conn, server: server}
}

// handshake returns the plaintext side of a connection, and what is known of its client.
func (p *proxy) handshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if p.tls == nil {
		return raw, plaintext{}, nil
	}
	ctx, cancel := context.WithTimeout(p.stop, handshakeTimeout)
	defer cancel()
	nc := tls.Server(raw, p.tls)
	if err := nc.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	return nc, credentials.TLSInfo{
		State:          nc.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// plaintext is the AuthInfo of a connection without TLS.
type plaintext struct{}

// AuthType is that of grpc-go's credentials without TLS.
func (plaintext) AuthType() string { return "insecure" }

// client is the side of the client, followed by evenkeel.
type client struct {
	*h2conn.Conn
	below net.Conn
}

// Reset closes the connection so that the client sees that it broke.
func (c *client) Reset() {
	pass.Abort(c.below)
	_ = c.Close()
}

// add reports false if the proxy ends everything.
func (p *proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop.Err() != nil {
		return false
	}
	p.links[l] = struct{}{}
	p.wg.Add(1) // ended takes it back
	return true
}

func (p *proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// count returns the number of connections, and of those whose clients do not speak HTTP/2.
func (p *proxy) count() (all, other int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if errors.Is(l.conn.Lost(), h2conn.ErrPreface) {
			other++
		}
	}
	return len(p.links), other
}

// closeStalled ends connections whose clients take nothing more from an upstream that has left.
func (p *proxy) closeStalled() {
	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.links))
	p.mu.Unlock()
	for _, l := range all {
		l.CloseStalled(func() bool { return pass.Left(l.server) })
	}
}

// close accepts no further client.
func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	if p.ln != nil {
		_ = p.ln.Close()
	}
}

// drainPoll is how often GracefulStop drains connections that have come since.
const drainPoll = 100 * time.Millisecond

// GracefulStop accepts no further client, drains all connections and waits until they have
// ended. Those that do not speak HTTP/2 cannot be drained: their clients or the server end them.
func (p *proxy) GracefulStop() {
	p.close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.wg.Wait()
	}()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for {
		p.bal.DrainForStop(p.stop)
		select {
		case <-ended:
			return
		case <-tick.C:
		}
	}
}

// Stop ends all connections at once.
func (p *proxy) Stop() {
	p.close()
	p.end()
	p.mu.Lock()
	all := make([]*link, 0, len(p.links))
	for l := range p.links {
		all = append(all, l)
	}
	p.mu.Unlock()
	for _, l := range all {
		l.Close()
	}
	p.wg.Wait()
}
