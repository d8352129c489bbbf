package rebalance

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/inside"
)

// rpcOf returns the context of an RPC that came from an address.
func rpcOf(ctx context.Context, addr net.Addr) context.Context {
	return peer.NewContext(ctx, &peer.Peer{Addr: addr})
}

// stranger is an address that no tracked connection has.
func stranger() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func shownCodes(b *Balancer) string {
	var codes []string
	for _, c := range b.Status().Conditions {
		codes = append(codes, c.Code)
	}
	return strings.Join(codes, " ")
}

// A stray RPC shows for as long as the next one may take to come, whether or not Run was
// called, and then it is forgotten.
func TestStraysAreForgotten(t *testing.T) {
	for name, running := range map[string]bool{"with Run": true, "without Run": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := New(config.Default())
				if running {
					b, err = started(t, nil, nil), nil
					visitor(t, b)
				}
				if err != nil {
					t.Fatal(err)
				}
				for range 20 { // probes
					b.seen(rpcOf(t.Context(), stranger()))
					time.Sleep(10 * time.Second)
					if got := shownCodes(b); got != "untracked" {
						t.Fatalf("while probes come: %q, want untracked", got)
					}
				}
				time.Sleep(straysShown)
				if got := shownCodes(b); got != "" {
					t.Errorf("%v after the last: %q, want nothing", straysShown, got)
				}
				b.seen(rpcOf(t.Context(), stranger()))
				if got := shownCodes(b); got != "untracked" {
					t.Errorf("with the next: %q, want untracked", got)
				}
			})
		})
	}
}

// The RPC of a connection that has just been closed ends with it: its connection is gone,
// which is not the same as never tracked. Any client can do that.
func TestEndedRPCIsNoStray(t *testing.T) {
	b, err := New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if !b.seen(rpcOf(ctx, stranger())) || b.Status().Untracked != 0 || shownCodes(b) != "" {
		t.Errorf("%d untracked, shown %q, want none", b.Status().Untracked, shownCodes(b))
	}
}

// Each cause has its own name and cure.
func TestCausesOfStrays(t *testing.T) {
	b, err := New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	conn := inside.Of(other).Track(server, nil)
	defer conn.Close()
	overHTTP := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{})
	for _, tc := range []struct {
		code, cure string
		rpc        context.Context
	}{
		{"untracked", "serveropts.Options(bal, creds)", rpcOf(t.Context(), stranger())},
		{"serve-http", "serveropts.HTTPServer", rpcOf(overHTTP, stranger())},
		{"other-balancer", "the same Balancer", rpcOf(t.Context(), conn.RemoteAddr())},
	} {
		if b.seen(tc.rpc) {
			t.Errorf("%s: the RPC counted as tracked", tc.code)
		}
		text := ""
		for _, c := range b.Status().Conditions {
			if c.Code == tc.code {
				text = c.Text
			}
		}
		if !strings.Contains(text, tc.cure) {
			t.Errorf("%s: %q does not name the cure %q", tc.code, text, tc.cure)
		}
	}
	if n := b.Status().Untracked; n != 3 {
		t.Errorf("%d untracked RPCs, want 3", n)
	}
	if !other.seen(rpcOf(t.Context(), conn.RemoteAddr())) || shownCodes(other) != "" {
		t.Errorf("the Balancer that tracks the connection shows %q", shownCodes(other))
	}
}
