package serveropts_test

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

// port is an in-memory listener whose connections have the dialer's address. Waiting for it is
// durably blocking, as virtual time requires.
type port struct {
	ends   func() (theirs, ours net.Conn)
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPort(ends func() (theirs, ours net.Conn)) *port {
	return &port{ends: ends, accept: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *port) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// dial connects with the source address from.
func (p *port) dial(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
	theirs, ours := p.ends()
	select {
	case p.accept <- &dialed{ours, net.TCPAddrFromAddrPort(from)}:
		return theirs, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialed is the server's end of a connection.
type dialed struct {
	net.Conn

	from net.Addr
}

func (d *dialed) RemoteAddr() net.Addr { return d.from }

// buffered returns both ends of a connection that buffers some bytes, as a kernel's does. For
// HTTP/1 a [net.Pipe] is enough.
func buffered() (theirs, ours net.Conn) {
	l := bufconn.Listen(16 << 10)
	defer l.Close()
	var wg sync.WaitGroup
	wg.Go(func() { ours, _ = l.Accept() })
	theirs, _ = l.Dial() // neither fails while l is open
	wg.Wait()
	return theirs, ours
}
