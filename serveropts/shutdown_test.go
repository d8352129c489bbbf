package serveropts_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// stuck is a handler that ignores its context.
type stuck struct {
	healthpb.UnimplementedHealthServer
	begun chan struct{}
	end   chan struct{}
}

func (s *stuck) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s.begun <- struct{}{}
	<-s.end
	return &healthpb.HealthCheckResponse{}, nil
}

// call makes a call with a new client. It returns once the handler runs, with a channel for the
// result.
func (s *stuck) call(t *testing.T, addr string, creds credentials.TransportCredentials) (*grpc.ClientConn, <-chan error) {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	answer := make(chan error, 1)
	go func() {
		_, err := healthpb.NewHealthClient(cc).Check(context.Background(), &healthpb.HealthCheckRequest{})
		answer <- err
	}()
	<-s.begun
	return cc, answer
}

// stoppable runs a real server on loopback that the test stops itself.
func stoppable(t *testing.T, timeout time.Duration, creds credentials.TransportCredentials, h healthpb.HealthServer) (*rebalance.Balancer, *grpc.Server, string) {
	t.Helper()
	cfg := config.Default()
	cfg.Shutdown.Timeout = timeout
	bal, err := rebalance.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(serveropts.Options(bal, creds)...)
	healthpb.RegisterHealthServer(srv, h)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return bal, srv, lis.Addr().String()
}

// shutdown calls Shutdown and fails the test if it does not return in time.
func shutdown(t *testing.T, bal *rebalance.Balancer, srv *grpc.Server) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- bal.Shutdown(context.Background(), srv) }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("Shutdown did not return")
		return nil
	}
}

// grpc waits for handlers in GracefulStop. Stop waits for them too while GracefulStop holds the
// lock.
func TestShutdownDoesNotWaitForAStuckHandler(t *testing.T) {
	for name, gone := range map[string]bool{"its client is gone": true, "its client is connected": false} {
		t.Run(name, func(t *testing.T) {
			h := &stuck{begun: make(chan struct{}), end: make(chan struct{})}
			bal, srv, addr := stoppable(t, time.Second, insecure.NewCredentials(), h)
			t.Cleanup(func() { close(h.end) })
			cc, answer := h.call(t, addr, insecure.NewCredentials())
			if gone {
				cc.Close()
				<-answer
			}
			if err := shutdown(t, bal, srv); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown returned %v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
}

// Stop waits for silent connections too, before it closes any other.
func TestSilentConnectionsDoNotDelayStop(t *testing.T) {
	h := &stuck{begun: make(chan struct{}), end: make(chan struct{})}
	bal, srv, addr := stoppable(t, time.Hour, insecure.NewCredentials(), h)
	t.Cleanup(func() { close(h.end) })
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, answer := h.call(t, addr, insecure.NewCredentials())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := bal.Shutdown(ctx, srv); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown returned %v, want %v", err, context.Canceled)
	}
	select {
	case err := <-answer:
		if err == nil {
			t.Error("the stuck handler answered")
		}
	case <-time.After(20 * time.Second):
		t.Error("the RPC in flight was not cut off")
	}
}

// grpc waits up to two minutes for connections that have sent nothing before it drains the
// others.
func TestSilentConnectionsDoNotDelayShutdown(t *testing.T) {
	serverTLS, clientTLS := certificates(t)
	for name, tc := range map[string]struct {
		server, client credentials.TransportCredentials
		sends          string
	}{
		"plaintext":             {server: insecure.NewCredentials(), client: insecure.NewCredentials()},
		"plaintext, a preface":  {server: insecure.NewCredentials(), client: insecure.NewCredentials(), sends: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		"TLS":                   {server: serverTLS, client: clientTLS},
		"TLS, part of a record": {server: serverTLS, client: clientTLS, sends: "\x16\x03\x01\x02"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &stuck{begun: make(chan struct{}), end: make(chan struct{})}
			bal, srv, addr := stoppable(t, time.Hour, tc.server, h)
			silent, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			_, _ = silent.Write([]byte(tc.sends))

			cc, answer := h.call(t, addr, tc.client)
			go func() {
				// The client leaves the state Ready when it gets the GOAWAY. The RPC ends after that.
				for s := cc.GetState(); s == connectivity.Ready && cc.WaitForStateChange(context.Background(), s); {
					s = cc.GetState()
				}
				close(h.end)
			}()
			if err := shutdown(t, bal, srv); err != nil {
				t.Errorf("Shutdown returned %v", err)
			}
			if err := <-answer; err != nil {
				t.Errorf("the RPC in flight failed: %v", err)
			}
			_ = silent.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, silent); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the silent connection was left open")
			}
		})
	}
}
