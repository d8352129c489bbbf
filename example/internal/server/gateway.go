package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// gateway is the HTTP/JSON side of the service. It calls the gRPC server of its own
// process over loopback, as any client would, so that interceptors and deadlines
// apply to both sides.
type gateway struct {
	conn *grpc.ClientConn
	http *http.Server
}

// The limits of the gateway, which clients outside may reach. There is none for writing, since
// Watch answers without end.
const (
	gatewayRead   = 5 * time.Second // of the headers; the body may take twice as long in all
	gatewayIdle   = 2 * time.Minute
	gatewayHeader = 16 << 10
)

func newGateway(ctx context.Context, grpcAddr net.Addr, keys *keyring) (*gateway, error) {
	conn, err := grpc.NewClient("passthrough:///"+reachable(grpcAddr), grpc.WithTransportCredentials(keys.loopback()))
	if err != nil {
		return nil, err
	}
	mux := runtime.NewServeMux()
	if err := hellov1.RegisterHelloServiceHandler(ctx, mux, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &gateway{conn: conn, http: &http.Server{
		Handler: mux, ReadHeaderTimeout: gatewayRead, ReadTimeout: 2 * gatewayRead, IdleTimeout: gatewayIdle, MaxHeaderBytes: gatewayHeader,
	}}, nil
}

// serve serves HTTP on ln. It returns nil after stop.
func (g *gateway) serve(ln net.Listener) error {
	if err := g.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stop lets requests in flight finish until ctx is done, and closes the rest.
func (g *gateway) stop(ctx context.Context) {
	if g.http.Shutdown(ctx) != nil {
		_ = g.http.Close()
	}
	_ = g.conn.Close()
}

// reachable returns an address at which this machine reaches a listener on a, which may
// stand for every address.
func reachable(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}).String()
	}
	return a.String()
}
