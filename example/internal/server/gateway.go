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
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// gateway is the HTTP/JSON side of the service. It calls the gRPC server of its own
// process as any client would, so that interceptors and deadlines apply to both sides. Its
// HTTP clients are balanced with those of gRPC; its own connection is no client.
type gateway struct {
	inner *serveropts.InProcess
	conn  *grpc.ClientConn
	web   *serveropts.WebServer
}

// The limits of the gateway, which clients outside may reach. There is none for writing, since
// Watch answers without end. Nor is there one for handlers: net/http lifts the limit for reading
// once the body has been read.
const (
	gatewayRead   = 5 * time.Second // of the headers; with the body they may take twice as long
	gatewayIdle   = 2 * time.Minute
	gatewayHeader = 16 << 10
)

func newGateway(ctx context.Context, bal *rebalance.Balancer, keys *keyring) (*gateway, error) {
	inner := serveropts.NewInProcess()
	conn, err := grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(inner.DialContext), grpc.WithTransportCredentials(keys.loopback()))
	if err != nil {
		return nil, err
	}
	mux := runtime.NewServeMux()
	if err := hellov1.RegisterHelloServiceHandler(ctx, mux, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &gateway{inner: inner, conn: conn, web: serveropts.HTTPServer(bal, limited(mux))}, nil
}

// limited returns a server of h with the limits, for HTTP/1.1 and HTTP/2 without TLS.
func limited(h http.Handler) *http.Server {
	srv := &http.Server{
		Handler: h, Protocols: new(http.Protocols),
		ReadHeaderTimeout: gatewayRead, ReadTimeout: 2 * gatewayRead, IdleTimeout: gatewayIdle, MaxHeaderBytes: gatewayHeader,
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

// serve serves HTTP on ln. It returns nil after stop.
func (g *gateway) serve(ln net.Listener) error {
	if err := g.web.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stop lets requests in flight finish until ctx is done, and closes the rest.
func (g *gateway) stop(ctx context.Context) {
	late := context.AfterFunc(ctx, g.web.Stop)
	g.web.GracefulStop() //nolint:contextcheck // it takes no context; late ends it
	late()
	_ = g.conn.Close()
}
