package h2conn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wrapping is the smallest TransportCredentials that puts a Conn in between.
type wrapping struct {
	credentials.TransportCredentials
	cfg *Config

	mu    sync.Mutex
	conns map[net.Addr]*Conn
	recs  map[*Conn]*recorder
	all   []*recorder
}

func newWrapping(tc credentials.TransportCredentials, linger time.Duration) *wrapping {
	return &wrapping{
		TransportCredentials: tc,
		cfg:                  &Config{Linger: linger},
		conns:                map[net.Addr]*Conn{},
		recs:                 map[*Conn]*recorder{},
	}
}

func (w *wrapping) ServerHandshake(nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	nc, info, err := w.TransportCredentials.ServerHandshake(nc)
	if err != nil {
		return nil, nil, err
	}
	rec := newRecorder()
	c := New(nc, w.cfg, rec)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c.RemoteAddr()] = c
	w.recs[c] = rec
	w.all = append(w.all, rec)
	return c, info, nil
}

func (w *wrapping) Clone() credentials.TransportCredentials { return w }

// of returns the connection of an RPC.
func (w *wrapping) of(ctx context.Context) *Conn {
	p, _ := peer.FromContext(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns[p.Addr]
}

// live returns all connections that have not ended.
func (w *wrapping) live() (live []*Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		if c.State() != Closed {
			live = append(live, c)
		}
	}
	return live
}

// healthServer answers Check at once and keeps each Watch until its
// connection leaves.
type healthServer struct {
	healthpb.UnimplementedHealthServer
	w      *wrapping
	lost   atomic.Int64 // RPCs whose connection is not known
	strict bool
}

func (h *healthServer) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if h.w.of(ctx) == nil {
		h.lost.Add(1)
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func (h *healthServer) Watch(_ *healthpb.HealthCheckRequest, s healthpb.Health_WatchServer) error {
	c := h.w.of(s.Context())
	if c == nil {
		h.lost.Add(1)
		return status.Error(codes.Internal, "no connection")
	}
	if err := s.Send(&healthpb.HealthCheckResponse{}); err != nil {
		return err
	}
	select {
	case <-c.Leaving():
		return nil
	case <-s.Context().Done():
		return s.Context().Err()
	}
}

// transport is one way to reach a server.
type transport struct {
	server credentials.TransportCredentials
	client credentials.TransportCredentials
	listen func(t testing.TB) (net.Listener, []grpc.DialOption, string)
}

func listenTCP(t testing.TB) (net.Listener, []grpc.DialOption, string) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis, nil, "passthrough:///" + lis.Addr().String()
}

func listenUnix(t testing.TB) (net.Listener, []grpc.DialOption, string) {
	path := t.TempDir() + "/s"
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return lis, nil, "unix:" + path
}

func listenBuf(testing.TB) (net.Listener, []grpc.DialOption, string) {
	lis := bufconn.Listen(64 << 10)
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }
	return lis, []grpc.DialOption{grpc.WithContextDialer(dial)}, "passthrough:///buf"
}

func transports(t testing.TB) map[string]transport {
	srv, cli, msrv, mcli := certificates(t)
	return map[string]transport{
		"tcp":     {insecure.NewCredentials(), insecure.NewCredentials(), listenTCP},
		"unix":    {insecure.NewCredentials(), insecure.NewCredentials(), listenUnix},
		"bufconn": {insecure.NewCredentials(), insecure.NewCredentials(), listenBuf},
		"tls":     {credentials.NewTLS(srv), credentials.NewTLS(cli), listenTCP},
		"mtls":    {credentials.NewTLS(msrv), credentials.NewTLS(mcli), listenTCP},
	}
}

// certificates returns configurations for TLS and mutual TLS, server and client.
func certificates(t testing.TB) (srv, cli, msrv, mcli *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	cert := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	srv = &tls.Config{Certificates: cert}
	cli = &tls.Config{RootCAs: pool, ServerName: "test"}
	msrv = &tls.Config{Certificates: cert, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	mcli = &tls.Config{RootCAs: pool, ServerName: "test", Certificates: cert}
	return srv, cli, msrv, mcli
}

// rig is a server with wrapped connections, and a client.
type rig struct {
	w      *wrapping
	hs     *healthServer
	client healthpb.HealthClient
}

func newRig(t *testing.T, tr transport, linger time.Duration, opts ...grpc.ServerOption) *rig {
	lis, dial, target := tr.listen(t)
	w := newWrapping(tr.server, linger)
	hs := &healthServer{w: w}
	srv := grpc.NewServer(append(opts, grpc.Creds(w))...)
	healthpb.RegisterHealthServer(srv, hs)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	cc, err := grpc.NewClient(target, append(dial, grpc.WithTransportCredentials(tr.client))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		srv.Stop()
		<-served
		for _, rec := range w.all {
			if how := <-rec.how; how == Forced {
				t.Error("a connection was forced to close")
			}
		}
	})
	return &rig{w, hs, healthpb.NewHealthClient(cc)}
}

// TestNoCallFails keeps calling and streaming while all connections are asked
// to leave, again and again.
func TestNoCallFails(t *testing.T) {
	for name, tr := range transports(t) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tr, 10*time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			const rounds = 20
			var calls, failed atomic.Int64
			done := make(chan struct{})
			var wg sync.WaitGroup
			for i := range 6 {
				wg.Go(func() {
					for ctx.Err() == nil {
						select {
						case <-done:
							return
						default:
						}
						if err := r.call(ctx, i%3 == 0); err != nil {
							failed.Add(1)
							t.Error(err)
							return
						}
						calls.Add(1)
					}
				})
			}
			left := r.leaveAll(t, ctx, rounds, &calls)
			close(done)
			wg.Wait()
			if failed.Load() > 0 || left < rounds || r.hs.lost.Load() > 0 {
				t.Errorf("%d of %d calls failed, %d connections left, %d calls without a connection",
					failed.Load(), calls.Load(), left, r.hs.lost.Load())
			}
			t.Logf("%d calls, %d connections left", calls.Load(), left)
		})
	}
}

func (r *rig) call(ctx context.Context, stream bool) error {
	if !stream {
		_, err := r.client.Check(ctx, &healthpb.HealthCheckRequest{})
		return err
	}
	s, err := r.client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if _, err = s.Recv(); err != nil {
			break
		}
	}
	if err.Error() == "EOF" {
		return nil
	}
	return err
}

// leaveAll asks all connections to leave, with some calls between.
func (r *rig) leaveAll(t *testing.T, ctx context.Context, rounds int, calls *atomic.Int64) (left int) {
	for left < rounds {
		for from := calls.Load(); calls.Load() < from+20 && ctx.Err() == nil && !t.Failed(); {
			_, _ = r.client.Check(ctx, &healthpb.HealthCheckRequest{})
			calls.Add(1)
			if len(r.w.live()) > 0 && calls.Load() > from+10 {
				break
			}
		}
		for _, c := range r.w.live() {
			if c.Leave("evenkeel: test", 0) {
				left++
			}
		}
		if ctx.Err() != nil || t.Failed() {
			return left
		}
	}
	return left
}
