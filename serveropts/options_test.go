package serveropts_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// serveWith runs a real server on loopback with these very options.
func serveWith(t *testing.T, bal *rebalance.Balancer, opts ...grpc.ServerOption) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(opts...)
	health.Register(srv, bal)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return lis.Addr().String()
}

// answers reports how a server answers one call.
func answers(t *testing.T, addr string, creds credentials.TransportCredentials) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := dial(t, addr, creds).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

// A server that has demanded client certificates still does so, in whatever order the
// options stand.
func TestNoPlaintextByAccident(t *testing.T) {
	server, client := certificates(t)
	for name, options := range map[string]func(*rebalance.Balancer) []grpc.ServerOption{
		"the server's Creds first": func(bal *rebalance.Balancer) []grpc.ServerOption {
			return append([]grpc.ServerOption{grpc.Creds(server)}, serveropts.Options(bal, server)...)
		},
		"the server's Creds last": func(bal *rebalance.Balancer) []grpc.ServerOption {
			return append(serveropts.Options(bal, server), grpc.Creds(server))
		},
		"alone": func(bal *rebalance.Balancer) []grpc.ServerOption { return serveropts.Options(bal, server) },
	} {
		t.Run(name, func(t *testing.T) {
			bal := balancer(t)
			addr := serveWith(t, bal, options(bal)...)
			if err := answers(t, addr, insecure.NewCredentials()); status.Code(err) != codes.Unavailable {
				t.Errorf("a client without a certificate got %v, want to be refused", err)
			}
			if err := answers(t, addr, client); err != nil {
				t.Errorf("a client with a certificate: %v", err)
			}
			tracked, conditions := bal.Status().Tracked > 0, bal.Status().Conditions
			if last := name == "the server's Creds last"; tracked == last || last != (len(conditions) == 1 && conditions[0].Code == "untracked") {
				t.Errorf("tracked: %v, conditions %+v", tracked, conditions)
			}
		})
	}
}

// Plaintext is asked for by name; nil is a mistake that a server does not start with.
func TestNilCredentialsPanic(t *testing.T) {
	for name, call := range map[string]func(){
		"credentials":             func() { serveropts.Options(balancer(t), nil) },
		"Balancer":                func() { serveropts.Options(nil, insecure.NewCredentials()) },
		"TransportCredentials of": func() { serveropts.TransportCredentials(balancer(t), nil) },
	} {
		text := ""
		func() {
			defer func() { text = fmt.Sprint(recover()) }()
			call()
		}()
		if !strings.HasPrefix(text, "serveropts: ") || !strings.Contains(text, "nil") {
			t.Errorf("%s: panic %q, want one that names the mistake", name, text)
		}
	}
}

// Wrapping credentials twice is the same as once, so that a server whose options were put
// together in two places counts its connections once.
func TestWrappingTwiceIsOnce(t *testing.T) {
	bal := balancer(t)
	creds := serveropts.TransportCredentials(bal, insecure.NewCredentials())
	if serveropts.TransportCredentials(bal, creds) != creds {
		t.Error("credentials that are wrapped already were wrapped again")
	}
	addr := serveWith(t, bal, serveropts.Options(bal, creds)...)
	if err := answers(t, addr, insecure.NewCredentials()); err != nil {
		t.Fatal(err)
	}
	if n := bal.Status().Tracked; n != 1 {
		t.Errorf("%d connections are tracked, want 1", n)
	}
}

// By default a server's own keepalive stays in force, before or after Options; settings that
// are set replace what stands before.
func TestKeepaliveIsReplacedOnlyIfSet(t *testing.T) {
	quick := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 100 * time.Millisecond})
	strict := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Hour})
	lenient := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 100 * time.Millisecond, PermitWithoutStream: true})
	for name, tc := range map[string]struct {
		set           func(*config.Policy)
		before, after []grpc.ServerOption
		ages, refused bool
	}{
		"own before":               {before: []grpc.ServerOption{quick, strict}, ages: true, refused: true},
		"own after":                {after: []grpc.ServerOption{quick, strict}, ages: true, refused: true},
		"own lenient before":       {before: []grpc.ServerOption{quick, lenient}, ages: true},
		"keepaliveTime set":        {set: func(p *config.Policy) { p.KeepaliveTime = time.Hour }, before: []grpc.ServerOption{quick, strict}, refused: true},
		"minClientPing set":        {set: func(p *config.Policy) { p.MinClientPing = 100 * time.Millisecond; p.PermitWithoutStream = true }, before: []grpc.ServerOption{quick, strict}, ages: true},
		"minClientPing, own after": {set: func(p *config.Policy) { p.MinClientPing = 100 * time.Millisecond }, after: []grpc.ServerOption{strict}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			if tc.set != nil {
				tc.set(&cfg.Policy)
			}
			bal, err := rebalance.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			opts := append(tc.before, serveropts.Options(bal, insecure.NewCredentials())...)
			aged, refused := pinged(t, serveWith(t, bal, append(opts, tc.after...)...))
			if aged != tc.ages || refused != tc.refused {
				t.Errorf("MaxConnectionAge acts: %v, want %v; pings are refused: %v, want %v", aged, tc.ages, refused, tc.refused)
			}
		})
	}
}

// pinged reports whether the server drains a connection on which nothing happens for a second,
// and whether it throws out a client that pings it every 200 ms.
func pinged(t *testing.T, addr string) (aged, refused bool) {
	t.Helper()
	for _, pings := range []bool{false, true} {
		code, drained := goaway(t, addr, pings)
		if !pings {
			aged = drained
		} else {
			refused = drained && code == http2.ErrCodeEnhanceYourCalm
		}
	}
	return aged, refused
}

// goaway is a client that speaks HTTP/2 and waits for a GOAWAY.
func goaway(t *testing.T, addr string, pings bool) (code http2.ErrCode, drained bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, http2.ClientPreface)
	fr := http2.NewFramer(conn, conn)
	_ = fr.WriteSettings()
	if pings {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					_ = http2.NewFramer(conn, nil).WritePing(false, [8]byte{1})
				}
			}
		}()
	}
	conn.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return code, drained
		}
		if g, ok := f.(*http2.GoAwayFrame); ok && (g.ErrCode != http2.ErrCodeNo || !pings) {
			return g.ErrCode, true
		}
	}
}

// A listener of the user's own may give connections without an address.
func TestConnectionWithoutAnAddress(t *testing.T) {
	bal := balancer(t)
	client, server := net.Pipe()
	defer client.Close()
	conn, _, err := serveropts.TransportCredentials(bal, insecure.NewCredentials()).ServerHandshake(&addressless{Conn: server})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(client, http2.ClientPreface)
		_ = http2.NewFramer(client, nil).WriteSettings()
	}()
	_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)+9))
	if s := bal.Status(); s.Connections != 1 || s.Keys != 1 || conn.RemoteAddr() == nil {
		t.Errorf("%d connections of %d clients, address %v", s.Connections, s.Keys, conn.RemoteAddr())
	}
}

// addressless is a connection that knows no addresses.
type addressless struct{ net.Conn }

func (*addressless) RemoteAddr() net.Addr { return nil }
func (*addressless) LocalAddr() net.Addr  { return nil }

// A connection belongs to one Balancer.
func TestWrappingForTwoBalancersPanics(t *testing.T) {
	creds := serveropts.TransportCredentials(balancer(t), insecure.NewCredentials())
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "another Balancer") {
			t.Errorf("panic %q, want one that names the mistake", text)
		}
	}()
	serveropts.TransportCredentials(balancer(t), creds)
}
