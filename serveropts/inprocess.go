package serveropts

import (
	"context"
	"net"

	"google.golang.org/grpc/test/bufconn"

	"github.com/evenkeel-go/evenkeel/internal/conns"
)

// InProcess is a listener in memory for clients in the server's own process, such as a
// grpc-gateway. A tracked server leaves its connections alone: they are neither load nor
// clients, and are not drained. Make it with [NewInProcess]:
//
//	inner := serveropts.NewInProcess()
//	go srv.Serve(inner)
//	conn, err := grpc.NewClient("passthrough:///in-process", grpc.WithContextDialer(inner.DialContext), ...)
//
// The server's credentials apply as on its other listeners.
type InProcess struct{ lis *bufconn.Listener }

// inProcessBuffer is how much one side may be ahead of the other, in bytes. A TCP connection on
// loopback buffers about as much.
const inProcessBuffer = 64 << 10

// NewInProcess returns a listener to which this process can connect.
func NewInProcess() *InProcess { return &InProcess{bufconn.Listen(inProcessBuffer)} }

// Accept returns the next connection.
func (l *InProcess) Accept() (net.Conn, error) {
	nc, err := l.lis.Accept()
	if err != nil {
		return nil, err
	}
	return &inProcessConn{nc}, nil
}

// Close stops the listener.
func (l *InProcess) Close() error { return l.lis.Close() }

// Addr returns an address with the network "in-process".
func (l *InProcess) Addr() net.Addr { return conns.InProcessAddr{} }

// DialContext connects to the listener. It ignores the address that
// grpc.WithContextDialer passes.
func (l *InProcess) DialContext(ctx context.Context, _ string) (net.Conn, error) {
	return l.lis.DialContext(ctx)
}

// inProcessConn is a connection that is not tracked.
type inProcessConn struct{ net.Conn }

func (*inProcessConn) RemoteAddr() net.Addr { return conns.InProcessAddr{} }
