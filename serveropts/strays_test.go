package serveropts_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// gone waits until bal has no connection, and reports whether that was soon enough.
func gone(bal *rebalance.Balancer) bool {
	for end := time.Now().Add(10 * time.Second); bal.Status().Connections > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// A probe gives up while the server is slow, and closes its connection. The handler that
// runs then finds no tracked connection, and that is no fault of the server's options.
func TestProbesThatGiveUpAreNoStrays(t *testing.T) {
	bal := balancer(t)
	handled := make(chan bool, 1)
	slow := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		closed := gone(bal)
		resp, err := h(ctx, req)
		handled <- closed
		return resp, err
	}
	addr := serve(t, bal, insecure.NewCredentials(), nil, grpc.UnaryInterceptor(slow))
	for range 3 {
		cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, _ = healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
		cancel()
		_ = cc.Close()
		if !<-handled {
			t.Fatal("the connection of the probe is still open")
		}
	}
	if s := bal.Status(); s.Untracked != 0 || len(s.Conditions) != 0 {
		t.Errorf("got %d untracked RPCs and conditions %+v, want none", s.Untracked, s.Conditions)
	}
}

// The health service of one Balancer on the server of another one shows at the first call.
func TestHealthServiceOfAnotherBalancer(t *testing.T) {
	bal, other := balancer(t), balancer(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(serveropts.Options(bal, insecure.NewCredentials())...)
	health.Register(srv, other)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	check(t, dial(t, lis.Addr().String(), insecure.NewCredentials()))
	if s := other.Status(); len(s.Conditions) != 1 || s.Conditions[0].Code != "other-balancer" {
		t.Errorf("got conditions %+v, want other-balancer", s.Conditions)
	}
}

// A cloud's default health check speaks HTTP/1.1 to the gRPC port. That is nothing to show.
func TestHealthCheckOverHTTP1ShowsNothing(t *testing.T) {
	bal := balancer(t)
	addr := serve(t, bal, insecure.NewCredentials(), nil)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.Copy(io.Discard, c) // until the server has closed it
	if s := bal.Status(); len(s.Conditions) != 0 || !gone(bal) {
		t.Errorf("got %d connections and conditions %+v, want none", s.Connections, s.Conditions)
	}
}
