package rebalance_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// quick answers at once, and watches until it is told to end.
type quick struct {
	healthpb.UnimplementedHealthServer
	end chan struct{}
}

func (*quick) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{}, nil
}

func (q *quick) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	if err := stream.Send(&healthpb.HealthCheckResponse{}); err != nil {
		return err
	}
	select {
	case <-q.end:
		return nil
	case <-stream.Context().Done():
		return status.FromContextError(stream.Context().Err()).Err()
	}
}

// mtlsRig is a server in memory that demands client certificates.
type mtlsRig struct {
	ca  *certstest.CA
	bal *rebalance.Balancer
	srv *grpc.Server
	ln  *bufconn.Listener
	end chan struct{} // closed to end the streams
}

// newMTLS returns a running server; it ends with the test's bubble.
func newMTLS(t *testing.T, change func(*config.Config)) *mtlsRig {
	t.Helper()
	cfg := config.Default()
	cfg.Policy.CloseAtExpiry = true
	if change != nil {
		change(&cfg)
	}
	bal, err := rebalance.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &mtlsRig{ca: certstest.NewCA(t, "test"), bal: bal, ln: bufconn.Listen(1 << 16), end: make(chan struct{})}
	cert, err := tls.X509KeyPair(r.ca.Issue("server.test", nil))
	if err != nil {
		t.Fatal(err)
	}
	r.srv = grpc.NewServer(serveropts.Options(bal, credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: r.pool(),
	}))...)
	healthpb.RegisterHealthServer(r.srv, &quick{end: r.end})
	ctx, cancel := context.WithCancel(t.Context())
	ran, served := make(chan struct{}), make(chan struct{})
	go func() { defer close(ran); bal.Run(ctx) }()
	go func() { defer close(served); r.srv.Serve(r.ln) }()
	t.Cleanup(func() { r.srv.Stop(); cancel(); <-ran; <-served })
	return r
}

func (r *mtlsRig) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.ca.PEM)
	return pool
}

// dial connects a client whose certificate lasts for the given time.
func (r *mtlsRig) dial(t *testing.T, lasts time.Duration) healthpb.HealthClient {
	t.Helper()
	cert, err := tls.X509KeyPair(r.ca.Issue("client.test", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(lasts)
	}))
	if err != nil {
		t.Fatal(err)
	}
	cc, err := grpc.NewClient("passthrough:///mem", grpc.WithIdleTimeout(0),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: r.pool(), ServerName: "server.test"})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	client := healthpb.NewHealthClient(cc)
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	return client
}

func (r *mtlsRig) expired() uint64 { return r.bal.Status().GoAways["expiry"] }

// Connections are drained in the last minute before their certificates expire, not all at
// once and none later.
func TestConnectionsAreDrainedBeforeCertificatesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40
		r := newMTLS(t, nil)
		begun := time.Now()
		for range n {
			r.dial(t, time.Hour)
		}
		r.dial(t, 2*time.Hour)
		time.Sleep(59*time.Minute - time.Since(begun))
		if got := r.expired(); got != 0 {
			t.Errorf("%d connections are drained a minute before the expiry", got)
		}
		busy, most := 0, uint64(0)
		for before := r.expired(); time.Since(begun) < time.Hour; before = r.expired() {
			time.Sleep(time.Second)
			if d := r.expired() - before; d > 0 {
				busy, most = busy+1, max(most, d)
			}
		}
		if got := r.expired(); got != n {
			t.Errorf("%d connections are drained at the expiry, want %d", got, n)
		}
		if busy < 15 || most > n/4 {
			t.Errorf("they were drained in %d seconds, up to %d in one, want them spread over a minute", busy, most)
		}
		time.Sleep(time.Minute)
		if st := r.bal.Status(); st.Connections != 1 || st.Draining != 0 {
			t.Errorf("%d connections, %d draining, want the one whose certificate is valid", st.Connections, st.Draining)
		}
	})
}

// A client with little time left is drained in the last tenth of it. The loop wakes for it.
func TestShortCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMTLS(t, nil)
		begun := time.Now()
		for _, lasts := range []time.Duration{5 * time.Second, 90 * time.Second} {
			before := r.expired()
			r.dial(t, lasts)
			end := time.Now().Add(lasts)
			time.Sleep(lasts * 89 / 100)
			if got := r.expired(); got != before {
				t.Errorf("certificate of %v: drained before the last tenth", lasts)
			}
			time.Sleep(time.Until(end))
			if got := r.expired(); got != before+1 {
				t.Errorf("certificate of %v: %d connections are drained at the expiry, want 1", lasts, got-before)
			}
		}
		if time.Since(begun) > 2*time.Minute {
			t.Errorf("took %v", time.Since(begun))
		}
	})
}

// Streams in flight go on after the expiry, within policy.maxConnectionAgeGrace.
func TestStreamsGoOnAfterTheExpiry(t *testing.T) {
	for name, grace := range map[string]time.Duration{"no grace": 0, "grace": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newMTLS(t, func(c *config.Config) {
					c.Policy.MaxConnectionAgeGrace, c.Rebalance.Grace = grace, time.Second
				})
				stream, err := r.dial(t, time.Hour).Watch(t.Context(), &healthpb.HealthCheckRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour + 3*time.Minute)
				if st := r.bal.Status(); r.expired() != 1 || st.Draining != 1 || st.Streams != 1 {
					t.Errorf("%d drained for the expiry, %d draining, %d streams, want one of each", r.expired(), st.Draining, st.Streams)
				}
				time.Sleep(time.Hour)
				close(r.end)
				_, err = stream.Recv()
				if wantCut := grace > 0; (status.Code(err) == codes.Unavailable) != wantCut {
					t.Errorf("the stream ended with %v, cut off: %v", err, wantCut)
				}
			})
		})
	}
}

// A pod that serves on for shutdown.minimum keeps the promise.
func TestExpiryWhileThePodStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMTLS(t, func(c *config.Config) {
			c.Shutdown.Timeout, c.Shutdown.Minimum = 10*time.Minute, 9*time.Minute
		})
		r.dial(t, time.Minute)
		done := make(chan error, 1)
		go func() { done <- r.bal.Shutdown(context.WithoutCancel(t.Context()), r.srv) }()
		time.Sleep(time.Minute)
		if got := r.expired(); got != 1 {
			t.Errorf("%d connections are drained at the expiry, want 1", got)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// It is off by default.
func TestConnectionsOutliveCertificatesByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMTLS(t, func(c *config.Config) { c.Policy.CloseAtExpiry = false })
		r.dial(t, time.Hour)
		time.Sleep(2 * time.Hour)
		if st := r.bal.Status(); st.Connections != 1 || st.Draining != 0 {
			t.Errorf("%d connections, %d draining, want 1 and 0", st.Connections, st.Draining)
		}
	})
}
