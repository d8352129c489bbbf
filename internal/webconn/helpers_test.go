package webconn

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h1conn"
)

// tracker is a Balancer without policy.
type tracker struct {
	*conns.Registry

	mu   sync.Mutex
	auth []credentials.AuthInfo
}

func newTracker() *tracker { return &tracker{Registry: conns.NewRegistry(time.Second)} }

func (t *tracker) Track(nc net.Conn, auth credentials.AuthInfo) net.Conn {
	t.note(auth)
	return t.Add(nc, "key")
}

func (t *tracker) TrackHTTP1(nc net.Conn, auth credentials.AuthInfo) *h1conn.Conn {
	t.note(auth)
	return t.AddHTTP1(nc, "key")
}

// DrainForStop is for the sidecar alone.
func (t *tracker) DrainForStop(context.Context) {}

func (t *tracker) note(auth credentials.AuthInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.auth = append(t.auth, auth)
}

// pipes is a listener whose connections are pipes.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{accept: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.accept:
		return nc, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// dial returns the client's side of a new connection.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.accept <- server
	return client
}

// start serves web, tracked, until the test ends.
func start(t *testing.T, web *http.Server) (*tracker, *pipes, *Server) {
	t.Helper()
	trk, l := newTracker(), newPipes()
	s := New(trk, web)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return trk, l, s
}

// pipeEnd is a connection that only has an address.
type pipeEnd struct{ net.Conn }

func (*pipeEnd) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
