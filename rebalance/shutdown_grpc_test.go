package rebalance_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
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
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bal, srv := stoppableOn(t, lis, timeout, creds, h)
	return bal, srv, lis.Addr().String()
}

func stoppableOn(t *testing.T, lis net.Listener, timeout time.Duration, creds credentials.TransportCredentials, h healthpb.HealthServer) (*rebalance.Balancer, *grpc.Server) {
	t.Helper()
	cfg := config.Default()
	cfg.Shutdown.Timeout = timeout
	bal, err := rebalance.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(serveropts.Options(bal, creds)...)
	healthpb.RegisterHealthServer(srv, h)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return bal, srv
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
			err := shutdown(t, bal, srv)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown returned %v, want %v", err, context.DeadlineExceeded)
			}
			// No scrape sees a pod that ends now. So its last words must name what it has cost.
			const cut = "1 RPC was cut off"
			said := slices.ContainsFunc(bal.Status().Decisions, func(d rebalance.Decision) bool { return d.Count == 1 && strings.HasPrefix(d.Why, cut) })
			if named := strings.HasPrefix(err.Error(), cut); said == gone || named == gone {
				t.Errorf("%q is in the decisions: %t, in the error %v: %t", cut, said, err, named)
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
	go func() { <-bal.Stopping(); cancel() }()
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
	serverTLS, clientTLS := mutualTLS(t)
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

// headerless is what a PROXY-protocol listener accepts before the header has come: its
// RemoteAddr waits for the header.
type headerless struct {
	net.Conn

	once   sync.Once
	closed chan struct{}
}

func (c *headerless) RemoteAddr() net.Addr {
	<-c.closed
	return nil
}

func (c *headerless) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// waiting is a server that waits for its handshakes, as grpc-go does.
type waiting struct{ handshakes chan struct{} }

func (s *waiting) GracefulStop() { <-s.handshakes }
func (s *waiting) Stop()         {}

// A client that connects through a proxy and sends no header does not delay Shutdown.
func TestConnectionWithoutAProxyHeaderDoesNotDelayShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bal, err := rebalance.New(config.Default())
		if err != nil {
			t.Fatal(err)
		}
		client, server := net.Pipe()
		defer client.Close()
		srv := &waiting{handshakes: make(chan struct{})}
		go func() {
			defer close(srv.handshakes)
			conn, _, err := serveropts.TransportCredentials(bal, insecure.NewCredentials()).
				ServerHandshake(&headerless{Conn: server, closed: make(chan struct{})})
			if err == nil {
				_ = conn.Close()
			}
		}()
		synctest.Wait()
		begun := time.Now()
		if err := bal.Shutdown(t.Context(), srv); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("Shutdown took %v", took)
		}
	})
}

// A handshake takes several round trips, and a lost packet costs a second more. A client that comes while
// the pod stops must not lose its connection because of that.
func TestShutdownWaitsForSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bal, err := rebalance.New(config.Default())
		if err != nil {
			t.Fatal(err)
		}
		client, server := net.Pipe()
		srv := &waiting{handshakes: make(chan struct{})}
		go func() {
			defer close(srv.handshakes)
			conn, _, err := serveropts.TransportCredentials(bal, insecure.NewCredentials()).ServerHandshake(server)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
		done := make(chan error, 1)
		go func() { done <- bal.Shutdown(t.Context(), srv) }()
		time.Sleep(2500 * time.Millisecond)
		if _, err := io.WriteString(client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Errorf("a client that was slow to begin lost its connection: %v", err)
		}
		_ = client.Close()
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// headerlessListener accepts connections whose header never comes.
type headerlessListener struct {
	net.Listener

	accepted chan net.Conn
}

func (l headerlessListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn = &headerless{Conn: conn, closed: make(chan struct{})}
	l.accepted <- conn
	return conn, nil
}

// refusing are credentials that refuse a client before they read anything.
type refusing struct {
	credentials.TransportCredentials

	err error
}

func (r refusing) Clone() credentials.TransportCredentials { return r }

func (r refusing) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, r.err
}

// grpc-go asks for the address in several places: with plaintext before it reads, and of the
// connection below when a handshake has failed, once while it holds the lock of the server.
func TestGRPCWithoutAProxyHeaderDoesNotDelayShutdown(t *testing.T) {
	serverTLS, _ := mutualTLS(t)
	for name, creds := range map[string]credentials.TransportCredentials{
		"plaintext":      insecure.NewCredentials(),
		"TLS":            serverTLS,
		"refused":        refusing{insecure.NewCredentials(), errors.New("refused")},
		"refused by EOF": refusing{insecure.NewCredentials(), io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			hl := headerlessListener{lis, make(chan net.Conn, 1)}
			bal, srv := stoppableOn(t, hl, 5*time.Second, creds, &stuck{})
			silent, err := net.Dial("tcp", lis.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			conn := <-hl.accepted
			defer conn.Close() // or Stop would hang
			begun := time.Now()
			if err := shutdown(t, bal, srv); err != nil {
				t.Errorf("Shutdown after %v: %v", time.Since(begun), err)
			}
		})
	}
}

// mutualTLS returns credentials of a server that demands a client certificate, and of a client
// that has one.
func mutualTLS(t *testing.T) (server, client credentials.TransportCredentials) {
	t.Helper()
	ca := certstest.NewCA(t, "test")
	cert, err := tls.X509KeyPair(ca.Issue("server.test", nil))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	certs := []tls.Certificate{cert}
	server = credentials.NewTLS(&tls.Config{Certificates: certs, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	client = credentials.NewTLS(&tls.Config{Certificates: certs, RootCAs: pool, ServerName: "server.test"})
	return server, client
}
