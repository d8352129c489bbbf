package serveropts_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a real server on loopback. opts follow the options of serveropts.
func serve(t *testing.T, bal *rebalance.Balancer, creds credentials.TransportCredentials, h healthpb.HealthServer, opts ...grpc.ServerOption) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(append(serveropts.Options(bal, creds), opts...)...)
	if h == nil {
		health.Register(srv, bal)
	} else {
		healthpb.RegisterHealthServer(srv, h)
	}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return lis.Addr().String()
}

func balancer(t *testing.T) *rebalance.Balancer {
	t.Helper()
	bal, err := rebalance.New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	return bal
}

func dial(t *testing.T, addr string, creds credentials.TransportCredentials) healthpb.HealthClient {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return healthpb.NewHealthClient(cc)
}

func check(t *testing.T, c healthpb.HealthClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
}

// spy is a handler that records the peer and the connection of each call.
type spy struct {
	healthpb.UnimplementedHealthServer
	peers    []*peer.Peer
	draining <-chan struct{}
	drained  chan struct{} // sent to by the function of rebalance.AfterDraining
	tracked  bool
	set      bool
}

func (s *spy) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	p, _ := peer.FromContext(ctx)
	s.peers = append(s.peers, p)
	s.draining = rebalance.Draining(ctx)
	_, s.tracked = rebalance.AfterDraining(ctx, func() {
		select {
		case s.drained <- struct{}{}:
		default: // no test waits for it
		}
	})
	s.set = rebalance.SetKey(ctx, "a name of its own")
	return &healthpb.HealthCheckResponse{}, nil
}

func TestHandlersSeeThePeerUnchanged(t *testing.T) {
	server, client := certificates(t)
	for name, tc := range map[string]struct {
		server, client credentials.TransportCredentials
		authType       string
	}{
		"plaintext": {insecure.NewCredentials(), insecure.NewCredentials(), "insecure"},
		"mTLS":      {server, client, "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			bal, s := balancer(t), &spy{}
			c := dial(t, serve(t, bal, tc.server, s), tc.client)
			check(t, c)
			check(t, c)
			p := s.peers[0]
			if _, ok := p.Addr.(*net.TCPAddr); !ok {
				t.Errorf("the peer address is a %T, want a *net.TCPAddr as without serveropts", p.Addr)
			}
			if p.Addr != s.peers[1].Addr {
				t.Error("two RPCs on one connection have different addresses")
			}
			switch {
			case tc.authType == "" && p.AuthInfo != nil:
				t.Errorf("got AuthInfo %v, want none as on a server without credentials", p.AuthInfo)
			case tc.authType != "" && (p.AuthInfo == nil || p.AuthInfo.AuthType() != tc.authType):
				t.Errorf("got AuthInfo %v, want type %s", p.AuthInfo, tc.authType)
			}
			if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) == 0 {
				t.Error("the client's certificate is lost")
			}
			if !s.set {
				t.Error("the handler did not find its connection")
			}
		})
	}
}

func TestHandlerLearnsThatItsConnectionDrains(t *testing.T) {
	bal, s := balancer(t), &spy{drained: make(chan struct{}, 1)}
	c := dial(t, serve(t, bal, insecure.NewCredentials(), s), insecure.NewCredentials())
	check(t, c)
	draining := s.draining
	if !s.tracked {
		t.Error("AfterDraining reported that the connection is not tracked")
	}
	select {
	case <-draining:
		t.Fatal("the connection is draining before DrainAll")
	default:
	}
	if n := bal.DrainAll(t.Context()); n != 1 {
		t.Errorf("got %d drained connections, want 1", n)
	}
	select {
	case <-draining:
	case <-time.After(10 * time.Second):
		t.Error("the channel of rebalance.Draining was not closed")
	}
	select {
	case <-s.drained:
	case <-time.After(10 * time.Second):
		t.Error("the function of rebalance.AfterDraining was not called")
	}
	check(t, c) // on a new connection
	if got := bal.Status().GoAways["manual"]; got != 1 {
		t.Errorf("got %d GOAWAYs counted as manual, want 1", got)
	}
}

func TestFirstHealthCheckDetectsReplacedCredentials(t *testing.T) {
	bal := balancer(t)
	addr := serve(t, bal, insecure.NewCredentials(), nil, grpc.Creds(insecure.NewCredentials()))
	check(t, dial(t, addr, insecure.NewCredentials()))
	s := bal.Status()
	if s.Untracked != 1 || s.Connections != 0 || len(s.Conditions) != 1 || s.Conditions[0].Code != "untracked" {
		t.Fatalf("got %d untracked, %d connections, conditions %+v, want 1, 0 and only untracked", s.Untracked, s.Connections, s.Conditions)
	}
}

// A user's own keepalive parameters take effect. GOAWAYs of their MaxConnectionAge are counted
// as the server's.
func TestOwnKeepaliveTakesEffect(t *testing.T) {
	bal := balancer(t)
	addr := serve(t, bal, insecure.NewCredentials(), nil, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 100 * time.Millisecond}))
	c := dial(t, addr, insecure.NewCredentials())
	deadline := time.Now().Add(20 * time.Second)
	for bal.Status().GoAways["server"] < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("got GOAWAYs %v after 20 s with a MaxConnectionAge of 100ms, want 3 of the server", bal.Status().GoAways)
		}
		check(t, c)
	}
	if s := bal.Status(); s.GoAways["age"]+s.GoAways["manual"] != 0 {
		t.Errorf("got GOAWAYs %v, want none of age or manual", s.GoAways)
	}
}

func TestKeepalivePolicyReachesGRPC(t *testing.T) {
	p := config.Policy{
		MaxConnectionAge: time.Hour, MaxConnectionIdle: time.Minute, KeepaliveTime: 2 * time.Minute,
		KeepaliveTimeout: 3 * time.Second, MinClientPing: 4 * time.Second, PermitWithoutStream: true,
	}
	want := keepalive.ServerParameters{MaxConnectionIdle: time.Minute, Time: 2 * time.Minute, Timeout: 3 * time.Second}
	if got := serveropts.ServerParameters(p); got != want {
		t.Errorf("got %+v, want %+v: the Balancer enforces the age, not grpc", got, want)
	}
	if got := serveropts.EnforcementPolicy(p); got != (keepalive.EnforcementPolicy{MinTime: 4 * time.Second, PermitWithoutStream: true}) {
		t.Errorf("got %+v, want the values of the Policy", got)
	}
}

func TestFailedHandshakeIsClosedAndNotTracked(t *testing.T) {
	server, _ := certificates(t)
	bal := balancer(t)
	addr := serve(t, bal, server, nil)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.Repeat("no TLS at all ", 100))); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for buf := make([]byte, 1024); err == nil; {
		_, err = conn.Read(buf)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the connection is still open after a failed handshake")
	}
	if n := bal.Status().Tracked; n != 0 {
		t.Errorf("got %d tracked connections, want 0 without a handshake", n)
	}
}

func TestServerOnly(t *testing.T) {
	bal := balancer(t)
	for _, c := range []credentials.TransportCredentials{serveropts.TransportCredentials(bal, insecure.NewCredentials()), serveropts.TransportCredentials(bal, insecure.NewCredentials()).Clone()} {
		if _, _, err := c.ClientHandshake(t.Context(), "", nil); !errors.Is(err, serveropts.ErrServerOnly) {
			t.Errorf("client handshake returned %v, want %v", err, serveropts.ErrServerOnly)
		}
	}
	if got := serveropts.TransportCredentials(bal, insecure.NewCredentials()).Info().SecurityProtocol; got != "insecure" {
		t.Errorf("got the security protocol %q, want that of the wrapped credentials", got)
	}
}

// certificates returns credentials for a server that requires client certificates, and for its
// client.
func certificates(t *testing.T) (server, client credentials.TransportCredentials) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "evenkeel test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	server = credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	client = credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool})
	return server, client
}
