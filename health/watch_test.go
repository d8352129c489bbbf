package health

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// serveHealth serves the health service of bal on ln.
func serveHealth(t *testing.T, ln net.Listener, bal *rebalance.Balancer, opts ...grpc.ServerOption) (srv *grpc.Server, end func()) {
	t.Helper()
	srv = grpc.NewServer(opts...)
	Register(srv, bal)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	return srv, func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

func wantUnavailable(t *testing.T, stream healthpb.Health_WatchClient) {
	t.Helper()
	if got, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("Watch: got %v, %v; want Unavailable", got, err)
	}
}

// grpc-go's GracefulStop waits for open Watch streams. Clients do not end them.
func TestOpenWatchDoesNotDelayShutdown(t *testing.T) {
	for name, tracked := range map[string]bool{"tracked": true, "not tracked": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bal := newBalancer(t)
				var opts []grpc.ServerOption
				if tracked {
					opts = serveropts.Options(bal, insecure.NewCredentials())
				}
				ln := bufconn.Listen(1 << 16)
				srv, end := serveHealth(t, ln, bal, opts...)
				defer end()
				client, hangUp := dialHealth(t, ln)
				defer hangUp()
				stream, cancel := rig{client: client}.watch(t, "")
				defer cancel()
				wantNext(t, stream, serving)
				begun := time.Now()
				done := make(chan error, 1)
				go func() { done <- bal.Shutdown(context.WithoutCancel(t.Context()), srv) }()
				wantNext(t, stream, notServing)
				wantUnavailable(t, stream)
				err := <-done
				if took := time.Since(begun); err != nil || took > 4*time.Second {
					t.Errorf("Shutdown took %v and returned %v", took, err)
				}
			})
		})
	}
}

// A drained connection ends although its client goes on watching.
func TestWatchEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bal := newBalancer(t)
		ln := bufconn.Listen(1 << 16)
		_, end := serveHealth(t, ln, bal, serveropts.Options(bal, insecure.NewCredentials())...)
		defer end()
		client, hangUp := dialHealth(t, ln)
		defer hangUp()
		stream, cancel := rig{client: client}.watch(t, "")
		defer cancel()
		wantNext(t, stream, serving)
		time.Sleep(time.Minute)
		if n := bal.DrainAll(t.Context()); n != 1 {
			t.Fatalf("%d connections are drained, want 1", n)
		}
		time.Sleep(watchPoll - time.Millisecond)
		if n := bal.Status().Streams; n != 1 {
			t.Errorf("%d streams just after the drain, want 1: the client must see the GOAWAY first", n)
		}
		time.Sleep(5 * time.Second)
		if st := bal.Status(); st.Connections != 0 {
			t.Errorf("%d connections with %d streams a while after the drain, want none", st.Connections, st.Streams)
			cancel()
		}
		wantUnavailable(t, stream)
	})
}

// checked is a service config by which a channel checks the health of its connections.
const checked = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}`

// call calls until ctx is done, and counts. The calls do not wait for a channel that has failed.
func call(ctx context.Context, t *testing.T, cc *grpc.ClientConn, calls, failed *atomic.Int64) {
	for ctx.Err() == nil {
		calls.Add(1)
		if _, err := healthpb.NewHealthClient(cc).Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Log(err)
			failed.Add(1)
		}
	}
}

// checking is a client whose channel checks the health of its connections.
func checking(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("dns:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(checked))
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

// watchStates counts the changes of a channel's state to TRANSIENT_FAILURE.
func watchStates(ctx context.Context, cc *grpc.ClientConn, failures *atomic.Int64) {
	for s := cc.GetState(); cc.WaitForStateChange(ctx, s); {
		if s = cc.GetState(); s == connectivity.TransientFailure {
			failures.Add(1)
		}
	}
}

// The client of grpc-go marks a connection whose Watch ends as failed, and an RPC that does
// not wait fails on it. That must not happen: the client has seen the GOAWAY before.
func TestNoRPCFailsWhileAConnectionThatIsWatchedDrains(t *testing.T) {
	bal := newBalancer(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, end := serveHealth(t, ln, bal, serveropts.Options(bal, insecure.NewCredentials())...)
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	var calls, failed, failures atomic.Int64
	for range 4 {
		cc := checking(t, ln.Addr().String())
		t.Cleanup(func() { _ = cc.Close() })
		wg.Go(func() { watchStates(ctx, cc, &failures) })
		for range 2 {
			wg.Go(func() { call(ctx, t, cc, &calls, &failed) })
		}
	}
	drained := 0
	for _, pause := range []int{100, 200, 400, 700, 1100, 500, 300} {
		time.Sleep(time.Duration(pause) * time.Millisecond)
		drained += bal.DrainAll(t.Context())
	}
	wg.Wait()
	if failed.Load() != 0 || failures.Load() != 0 || drained < 8 {
		t.Errorf("%d of %d calls failed, channels failed %d times, %d connections were drained", failed.Load(), calls.Load(), failures.Load(), drained)
	}
	t.Logf("%d calls, %d drains", calls.Load(), drained)
}

// A server stops while its clients check its health. They call the other server meanwhile.
func TestNoRPCFailsWhileAServerThatIsWatchedStops(t *testing.T) {
	var bals [2]*rebalance.Balancer
	var srvs [2]*grpc.Server
	var addrs []resolver.Address
	for i := range bals {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var end func()
		bals[i] = newBalancer(t)
		srvs[i], end = serveHealth(t, ln, bals[i], serveropts.Options(bals[i], insecure.NewCredentials())...)
		defer end()
		addrs = append(addrs, resolver.Address{Addr: ln.Addr().String()})
	}
	names := manual.NewBuilderWithScheme("two")
	names.InitialState(resolver.State{Addresses: addrs})
	cc, err := grpc.NewClient("two:///", grpc.WithResolvers(names), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(checked))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var calls, failed atomic.Int64
	for range 4 {
		wg.Go(func() { call(ctx, t, cc, &calls, &failed) })
	}
	for bals[0].Status().Streams == 0 { // until the client watches it
		time.Sleep(time.Millisecond)
	}
	begun := time.Now()
	err = bals[0].Shutdown(context.Background(), srvs[0])
	if took := time.Since(begun); err != nil || took > 10*time.Second {
		t.Errorf("Shutdown took %v and returned %v", took, err)
	}
	time.Sleep(100 * time.Millisecond)
	cancel()
	wg.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), calls.Load())
	}
}
