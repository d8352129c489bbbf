package h2conn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wrapping is the smallest TransportCredentials that wraps connections in a Conn.
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

// of returns the connection of the RPC that ctx belongs to.
func (w *wrapping) of(ctx context.Context) *Conn {
	p, _ := peer.FromContext(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns[p.Addr]
}

// live returns all connections that are not Closed.
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

// healthServer answers Check at once, with trailers that need more than one frame. It
// answers List with more than one buffer full, and keeps each Watch until its connection
// drains.
type healthServer struct {
	healthpb.UnimplementedHealthServer
	w      *wrapping
	strays atomic.Int64 // RPCs whose connection is unknown
}

func (h *healthServer) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if h.w.of(ctx) == nil {
		h.strays.Add(1)
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("long", strings.Repeat("x", 20_000)))
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func (h *healthServer) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	return &healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{
		strings.Repeat("x", 100_000): {},
	}}, nil
}

func (h *healthServer) Watch(_ *healthpb.HealthCheckRequest, s healthpb.Health_WatchServer) error {
	c := h.w.of(s.Context())
	if c == nil {
		h.strays.Add(1)
		return status.Error(codes.Internal, "no connection")
	}
	if err := s.Send(&healthpb.HealthCheckResponse{}); err != nil {
		return err
	}
	select {
	case <-c.Draining():
		return nil
	case <-s.Context().Done():
		return s.Context().Err()
	}
}

// transport is one way in which clients reach a server.
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

// certificates returns configurations of server and client, for TLS and for mutual TLS.
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
				t.Errorf("a connection was closed: %v", how)
			}
		}
	})
	return &rig{w, hs, healthpb.NewHealthClient(cc)}
}

// No unary or streaming call fails while all connections are drained again and again. In
// the last case grpc-go drains them as well.
func TestNoCallFails(t *testing.T) {
	aged := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 100 * time.Millisecond})
	for name, tr := range transports(t) {
		t.Run(name, func(t *testing.T) { noCallFails(t, newRig(t, tr, 10*time.Millisecond)) })
		if name == "tcp" {
			t.Run("aged", func(t *testing.T) { noCallFails(t, newRig(t, tr, 10*time.Millisecond, aged)) })
		}
	}
}

func noCallFails(t *testing.T, r *rig) {
	const rounds, callers = 12, 6
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var calls atomic.Int64
	made := make(chan struct{}) // gets one value per call, as long as it is read
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := r.call(ctx, i); err != nil && ctx.Err() == nil {
					t.Errorf("a call failed: %v", err)
					cancel()
					return
				}
				calls.Add(1)
				select {
				case made <- struct{}{}:
				default:
				}
			}
		})
	}
	drained := r.drainRepeatedly(ctx, rounds, made)
	if drained < rounds || r.hs.strays.Load() > 0 {
		t.Errorf("%d connections drained, %d calls on no known connection; want at least %d, 0", drained, r.hs.strays.Load(), rounds)
	}
	t.Logf("%d calls, %d connections drained", calls.Load(), drained)
}

// drainRepeatedly drains all connections after every 5 calls, until it has drained n.
func (r *rig) drainRepeatedly(ctx context.Context, n int, made <-chan struct{}) (drained int) {
	for ctx.Err() == nil && drained < n {
		for range 5 {
			select {
			case <-made:
			case <-ctx.Done():
				return drained
			}
		}
		for _, c := range r.w.live() {
			if drainNow(c, "evenkeel: test", 0) {
				drained++
			}
		}
	}
	return drained
}

// call makes a call; kind selects one of three methods.
func (r *rig) call(ctx context.Context, kind int) error {
	switch kind % 3 {
	case 0:
		_, err := r.client.Check(ctx, &healthpb.HealthCheckRequest{})
		return err
	case 1:
		_, err := r.client.List(ctx, &healthpb.HealthListRequest{})
		return err
	}
	s, err := r.client.Watch(ctx, &healthpb.HealthCheckRequest{})
	for err == nil {
		_, err = s.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// inVirtualTime runs test with a server and a client in a bubble.
func inVirtualTime(t *testing.T, test func(t *testing.T, r *rig), opts ...grpc.ServerOption) {
	t.Helper()
	tr := transport{insecure.NewCredentials(), insecure.NewCredentials(), listenBuf}
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t, tr, time.Second, opts...)) })
}

// The Conn notices when MaxConnectionAge ends connections, and leaves closing them to
// grpc-go.
func TestServerDrains(t *testing.T) {
	age := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: time.Minute})
	inVirtualTime(t, func(t *testing.T, r *rig) {
		for range 30 {
			if err := r.call(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			for _, c := range r.w.live() {
				if s := c.State(); s > Draining {
					t.Fatalf("state is %v, want %v at most", s, Draining)
				}
			}
		}
		if len(r.w.all) < 4 {
			t.Fatalf("%d connections in 5 min, want at least 4", len(r.w.all))
		}
		for _, c := range r.w.all[:len(r.w.all)-1] {
			c.want(t, "goaway ours=false", "closed: clean")
		}
	}, age)
}

// An idle grpc-go client closes its drained connection. Its next call makes a new one.
func TestIdleClientReconnects(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, r *rig) {
		for range 2 {
			if err := r.call(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			for _, c := range r.w.live() {
				drainNow(c, "evenkeel: test", 0)
			}
			synctest.Wait()
		}
		if len(r.w.all) != 2 || len(r.w.live()) != 0 {
			t.Errorf("%d connections, %d alive, want 2, 0", len(r.w.all), len(r.w.live()))
		}
		for _, c := range r.w.all {
			c.want(t, "goaway ours=true", "closed: clean")
		}
	})
}

// When the Conn closes the connection of a client that never closes, the server's
// transport ends, too. So GracefulStop has nothing to wait for.
func TestServerTransportEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(1 << 16)
		w := newWrapping(insecure.NewCredentials(), time.Second)
		srv := grpc.NewServer(grpc.Creds(w))
		served := make(chan error)
		go func() { served <- srv.Serve(lis) }()
		nc, err := lis.Dial()
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{t: t, client: nc, w: newWire(), acks: true, walk: []State{Open}}
		go p.read()
		p.w.WriteString(http2.ClientPreface)
		_ = p.w.WriteSettings()
		p.fromClient()
		p.c, p.rec = w.live()[0], w.all[0]
		p.drain(0)
		p.state(Idle)
		p.closedAfter(time.Second, Clean)
		srv.GracefulStop()
		<-served
	})
}
