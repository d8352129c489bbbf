package rebalance

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/inside"
)

func TestExpiryOf(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ends := func(hours ...int) []*x509.Certificate {
		var chain []*x509.Certificate
		for _, h := range hours {
			chain = append(chain, &x509.Certificate{NotAfter: now.Add(time.Duration(h) * time.Hour)})
		}
		return chain
	}
	for name, tc := range map[string]struct {
		peer   []*x509.Certificate
		chains [][]*x509.Certificate
		want   int // hours from now; 0: never
	}{
		"no certificate":         {},
		"its own is first":       {ends(2), [][]*x509.Certificate{ends(2, 5, 9)}, 2},
		"an issuer is first":     {ends(7), [][]*x509.Certificate{ends(7, 3, 9)}, 3},
		"the root is first":      {ends(7), [][]*x509.Certificate{ends(7, 8, 4)}, 4},
		"two chains":             {ends(7), [][]*x509.Certificate{ends(7, 3), ends(7, 5), ends(7, 4)}, 5},
		"verified by itself":     {ends(6, 1), nil, 6},
		"accepted although over": {ends(-1), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			want := time.Time{}
			if tc.want != 0 {
				want = now.Add(time.Duration(tc.want) * time.Hour)
			}
			if got := expiryOf(&tls.ConnectionState{PeerCertificates: tc.peer, VerifiedChains: tc.chains}, now); !got.Equal(want) {
				t.Errorf("expires at %v, want %v", got, want)
			}
		})
	}
}

func TestDrainBefore(t *testing.T) {
	now := time.Now().Round(0)
	for _, tc := range []struct{ left, first time.Duration }{
		{100 * 365 * 24 * time.Hour, time.Minute},
		{time.Hour, time.Minute},
		{5 * time.Minute, 30 * time.Second},
		{time.Second, 100 * time.Millisecond},
		{0, 0},
		{-time.Second, 0}, // it expired during the handshake
	} {
		end := now.Add(tc.left)
		for range 1000 {
			at := drainBefore(end, now)
			if at.Before(end.Add(-tc.first)) || at.After(end.Add(-tc.first/10)) {
				t.Errorf("with %v left, drained %v before the expiry, want %v at most", tc.left, end.Sub(at), tc.first)
			}
		}
	}
}

// expiringIn returns the result of a handshake whose client certificate expires then.
func expiringIn(d time.Duration) credentials.AuthInfo {
	leaf := &x509.Certificate{NotAfter: time.Now().Add(d)}
	return credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}}
}

func expiringBalancer(t *testing.T) *Balancer {
	t.Helper()
	cfg := config.Default()
	cfg.Policy.CloseAtExpiry = true
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Clients that come and go, with certificates that last for days, must not fill the memory.
func TestConnectionsThatEndedAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := expiringBalancer(t)
		track := func() net.Conn {
			client, server := net.Pipe()
			t.Cleanup(func() { client.Close(); server.Close() })
			return inside.Of(b).Track(server, expiringIn(24*time.Hour))
		}
		for range 100 {
			track()
		}
		most := 0
		for range 5000 {
			_ = track().Close()
			time.Sleep(time.Second)
			most = max(most, len(b.expiries.due))
		}
		// 100 that live, those of the last 3 minutes, twice that.
		if most > 2*(100+180)+128 {
			t.Errorf("%d connections are remembered, while 100 are open", most)
		}
		if n := len(b.expiries.due); n < 100 {
			t.Errorf("%d connections are remembered, while 100 are open", n)
		}
	})
}

// A server that does not use the setting, and a connection without a client certificate, cost
// nothing.
func TestNothingIsRememberedWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off, err := New(config.Default())
		if err != nil {
			t.Fatal(err)
		}
		on := expiringBalancer(t)
		for b, auth := range map[*Balancer]credentials.AuthInfo{off: expiringIn(time.Hour), on: credentials.TLSInfo{}} {
			client, server := net.Pipe()
			defer client.Close()
			conn := inside.Of(b).Track(server, auth)
			defer conn.Close()
			if cap(b.expiries.due) != 0 {
				t.Errorf("%d connections are remembered", len(b.expiries.due))
			}
		}
	})
}

// A server without TLS, whose connections can never expire, is told once.
func TestCloseAtExpiryWithoutTLS(t *testing.T) {
	var logged strings.Builder
	cfg := config.Default()
	cfg.Policy.CloseAtExpiry = true
	b, err := New(cfg, WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.noteExpiry(&net.TCPAddr{}, nil)
	}
	if n := strings.Count(logged.String(), "policy.closeAtExpiry has no effect"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, &logged)
	}
}

// The setting is read when a connection is accepted, so a change needs a restart.
func TestCloseAtExpiryNeedsARestart(t *testing.T) {
	b := expiringBalancer(t)
	if err := b.Apply(config.Default()); err != nil {
		t.Fatal(err)
	}
	if !b.Config().Policy.CloseAtExpiry || !b.closeAtExpiry {
		t.Error("the setting changed without a restart")
	}
	if st := b.Status().Conditions; len(st) != 1 || st[0].Code != restartNeeded {
		t.Errorf("conditions %v, want restart-needed", st)
	}
}
