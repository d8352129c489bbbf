package h2conn

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// slowConn reads about 150 KB per second.
type slowConn struct{ net.Conn }

func (c *slowConn) Read(p []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return c.Conn.Read(p[:min(len(p), 8<<10)])
}

// bigServer drains the connection and then answers with a megabyte.
type bigServer struct {
	healthpb.UnimplementedHealthServer
	w *wrapping
}

const bigAnswer = 1 << 20

func (b *bigServer) List(ctx context.Context, _ *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	b.w.of(ctx).Drain("bye", 0)
	return &healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{strings.Repeat("x", bigAnswer): {}}}, nil
}

// A client with a slow line and wide windows may still be reading its answer long after
// the server has written it. The connection must not be closed before it has finished.
func TestSlowReadersLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test takes as long as a slow client")
	}
	for _, name := range []string{"tcp", "tls"} {
		tr := transports(t)[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lis, _, target := tr.listen(t)
			w := newWrapping(tr.server, 100*time.Millisecond)
			srv := grpc.NewServer(grpc.Creds(w))
			healthpb.RegisterHealthServer(srv, &bigServer{w: w})
			served := make(chan error, 1)
			go func() { served <- srv.Serve(lis) }()
			cc, err := grpc.NewClient(target, grpc.WithTransportCredentials(tr.client), grpc.WithAuthority("test"),
				grpc.WithInitialWindowSize(2*bigAnswer), grpc.WithInitialConnWindowSize(2*bigAnswer),
				grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
					nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
					if err != nil {
						return nil, err
					}
					// The kernel's buffer is small: its bytes are not lost with the connection.
					return &slowConn{nc}, nc.(*net.TCPConn).SetReadBuffer(16 << 10)
				}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cc.Close()
				srv.Stop()
				<-served
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := healthpb.NewHealthClient(cc).List(ctx, &healthpb.HealthListRequest{}); err != nil {
				t.Error(err)
			}
			if how := <-w.all[0].how; how != Clean && how != ByClient {
				t.Errorf("closed: %v, want %v or %v", how, Clean, ByClient)
			}
		})
	}
}
