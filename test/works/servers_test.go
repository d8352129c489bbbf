package works

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/soheilhy/cmux"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/local"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/test/bufconn"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// place is where servers with one Balancer serve, and how clients reach them.
type place struct {
	servers []rebalance.Server
	// dials has one entry for each client.
	dials []dial
	// beside uses the port in another way, after the drain; nil: nothing does.
	beside func(t *testing.T)
	// after ends and checks what is not a gRPC server, after Shutdown; nil: nothing.
	after func(t *testing.T)
}

// dial is how one client reaches its server.
type dial struct {
	target string
	opts   []grpc.DialOption
}

// facts are what a handler sees of its connection.
type facts struct {
	tracked bool
	auth    string
}

func (f facts) String() string { return fmt.Sprintf("tracked %v, AuthType %q", f.tracked, f.auth) }

// greeter answers with what it sees.
type greeter struct {
	hellov1.UnimplementedHelloServiceServer
}

func (greeter) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	seen := facts{tracked: rebalance.Draining(ctx) != nil}
	if p, ok := peer.FromContext(ctx); ok && p.AuthInfo != nil {
		seen.auth = p.AuthInfo.AuthType()
	}
	return &hellov1.HiResponse{FromWho: req.GetToWho(), Message: seen.String()}, nil
}

func (greeter) Chat(stream grpc.BidiStreamingServer[hellov1.HiRequest, hellov1.HiResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&hellov1.HiResponse{FromWho: req.GetToWho()}); err != nil {
			return err
		}
	}
}

// newServer returns a tracked server.
func newServer(bal *rebalance.Balancer, creds credentials.TransportCredentials, opts ...grpc.ServerOption) *grpc.Server {
	srv := grpc.NewServer(append(opts, serveropts.Options(bal, creds)...)...)
	hellov1.RegisterHelloServiceServer(srv, greeter{})
	health.Register(srv, bal)
	return srv
}

// serve serves until Shutdown, or else until the end of the test.
func serve(t *testing.T, srv *grpc.Server, lis net.Listener) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
}

// listen listens on loopback.
func listen(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

// plaintext returns how n clients reach an address without TLS.
func plaintext(addr net.Addr, n int, opts ...grpc.DialOption) []dial {
	opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))
	var all []dial
	for range n {
		all = append(all, dial{target: "passthrough:///" + addr.String(), opts: opts})
	}
	return all
}

// onPort serves plaintext on a listener that clients reach by TCP.
func onPort(t *testing.T, bal *rebalance.Balancer, lis net.Listener, opts ...grpc.ServerOption) *place {
	t.Helper()
	srv := newServer(bal, insecure.NewCredentials(), opts...)
	serve(t, srv, lis)
	return &place{servers: []rebalance.Server{srv}, dials: plaintext(lis.Addr(), clients)}
}

func onBufconn(t *testing.T, bal *rebalance.Balancer) *place {
	lis := bufconn.Listen(1 << 16)
	p := onPort(t, bal, lis)
	p.dials = plaintext(lis.Addr(), clients, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return lis.DialContext(ctx)
	}))
	return p
}

// byPreface matches every HTTP/2 connection.
func byPreface(m cmux.CMux) net.Listener { return m.Match(cmux.HTTP2()) }

// byHeader matches the header of the first RPC. cmux must send SETTINGS itself, since
// grpc-go clients begin no RPC before they have read some.
func byHeader(m cmux.CMux) net.Listener {
	return m.MatchWithWriters(cmux.HTTP2MatchHeaderFieldSendSettings("content-type", "application/grpc"))
}

func behindCmux(match func(cmux.CMux) net.Listener) func(*testing.T, *rebalance.Balancer) *place {
	return func(t *testing.T, bal *rebalance.Balancer) *place {
		root := listen(t)
		mux := cmux.New(root)
		grpcLis, httpLis := match(mux), mux.Match(cmux.HTTP1Fast())
		p := onPort(t, bal, grpcLis)
		web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "HTTP/1.1") })}
		ended := make(chan error, 2)
		go func() { ended <- web.Serve(httpLis) }()
		go func() { ended <- mux.Serve() }()
		p.beside = func(t *testing.T) { get(t, "http://"+root.Addr().String()) }
		p.after = func(t *testing.T) {
			// gRPC's Shutdown has closed the port that both share. The HTTP server may not have
			// noticed yet.
			if err := web.Shutdown(t.Context()); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("the HTTP server's Shutdown returned %v", err)
			}
			<-ended
			<-ended // cmux has ended, too
		}
		return p
	}
}

// get expects the answer of the HTTP server that shares a port with gRPC.
func get(t *testing.T, url string) {
	t.Helper()
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := web.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "HTTP/1.1" {
		t.Errorf("GET returned %q, %v", body, err)
	}
}

// behindProxy serves clients that come through a proxy, each with an address of its own.
// The first sends a header of version 1, the others one of version 2. A connection without
// a header is open at Shutdown.
func behindProxy(t *testing.T, bal *rebalance.Balancer) *place {
	lis := &proxyproto.Listener{Listener: listen(t), ReadHeaderTimeout: 3 * time.Second}
	p := onPort(t, bal, lis)
	p.dials = nil
	for i := range clients {
		source := &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i+1)), Port: 40000}
		version := byte(min(i+1, 2))
		p.dials = append(p.dials, plaintext(lis.Addr(), 1, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dialAs(ctx, addr, version, source)
		}))...)
	}
	p.beside = func(t *testing.T) {
		silent, err := net.Dial("tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { silent.Close() })
	}
	return p
}

// dialAs connects as a proxy would for a client at source.
func dialAs(ctx context.Context, addr string, version byte, source net.Addr) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := proxyproto.HeaderProxyFromAddrs(version, source, conn.RemoteAddr()).WriteTo(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func limitedTo(n int) func(*testing.T, *rebalance.Balancer) *place {
	return func(t *testing.T, bal *rebalance.Balancer) *place {
		return onPort(t, bal, netutil.LimitListener(listen(t), n))
	}
}

// withOtel has stats handlers on both sides, which must have seen calls.
func withOtel(t *testing.T, bal *rebalance.Balancer) *place {
	var served, made atomic.Int64
	options := func(n *atomic.Int64) []otelgrpc.Option {
		return []otelgrpc.Option{
			otelgrpc.WithTracerProvider(tracenoop.NewTracerProvider()),
			otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()),
			otelgrpc.WithFilter(func(*stats.RPCTagInfo) bool { n.Add(1); return true }),
		}
	}
	lis := listen(t)
	p := onPort(t, bal, lis, grpc.StatsHandler(otelgrpc.NewServerHandler(options(&served)...)))
	p.dials = plaintext(lis.Addr(), clients, grpc.WithStatsHandler(otelgrpc.NewClientHandler(options(&made)...)))
	p.after = func(t *testing.T) {
		if served.Load() == 0 || made.Load() == 0 {
			t.Errorf("otelgrpc saw %d calls on the server and %d on clients, want some", served.Load(), made.Load())
		}
	}
	return p
}

// withStreamWorkers has fewer workers than there are streams.
func withStreamWorkers(t *testing.T, bal *rebalance.Balancer) *place {
	return onPort(t, bal, listen(t), grpc.NumStreamWorkers(clients-1))
}

func withLocalTCP(t *testing.T, bal *rebalance.Balancer) *place { return withLocal(t, bal, listen(t)) }

func withLocalUnix(t *testing.T, bal *rebalance.Balancer) *place {
	lis, err := net.Listen("unix", filepath.Join(t.TempDir(), "grpc"))
	if err != nil {
		t.Fatal(err)
	}
	return withLocal(t, bal, lis)
}

func withLocal(t *testing.T, bal *rebalance.Balancer, lis net.Listener) *place {
	srv := newServer(bal, local.NewCredentials())
	serve(t, srv, lis)
	p := &place{servers: []rebalance.Server{srv}}
	target := "passthrough:///" + lis.Addr().String()
	if lis.Addr().Network() == "unix" {
		target = "unix:" + lis.Addr().String()
	}
	for range clients {
		p.dials = append(p.dials, dial{target, []grpc.DialOption{grpc.WithTransportCredentials(local.NewCredentials())}})
	}
	return p
}

// twoServers serve on a port each, with half of the clients.
func twoServers(t *testing.T, bal *rebalance.Balancer) *place {
	a, b := onPort(t, bal, listen(t)), onPort(t, bal, listen(t))
	return &place{servers: append(a.servers, b.servers...), dials: append(a.dials, b.dials...)}
}
