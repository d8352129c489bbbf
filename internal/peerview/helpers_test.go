package peerview

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

// hand is a source that reports nothing.
type hand struct{}

func (hand) Run(ctx context.Context, _ func(peers.Membership)) error { <-ctx.Done(); return nil }
func (hand) String() string                                          { return "hand" }

// quiet returns Events that do nothing.
func quiet() Events {
	return Events{Changed: func() {}, ClientName: func(string) {}, Warning: func(string) {}, Ended: func(error) {}}
}

// asker returns the Book of the pod at 127.0.0.1. It does not run: the test polls and
// queries by hand.
func asker(tb testing.TB, change func(*Options), members ...peers.Member) *Book {
	tb.Helper()
	b := newcomer(tb, change)
	seeMembers(b, members...)
	return b
}

// newcomer is an asker that has seen nothing yet.
func newcomer(tb testing.TB, change func(*Options)) *Book {
	tb.Helper()
	o := Options{
		Self:   Self{Pod: "pod-a", Addr: netip.MustParseAddr("127.0.0.1")},
		Source: hand{}, Events: quiet(),
	}
	if change != nil {
		change(&o)
	}
	b := New(o)
	tb.Cleanup(b.client.Close)
	b.poller.Deadline = 4 * time.Second // a busy machine is no fault of a peer's
	return b
}

// seeMembers lets a Book see its own pod and members.
func seeMembers(b *Book, members ...peers.Member) {
	self := peers.Member{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Port: 1}
	b.Update(peers.Membership{Members: append([]peers.Member{self}, members...)})
}

// serveAt serves h on a port of host until the test ends.
func serveAt(t *testing.T, host string, port int, h http.Handler) (at netip.AddrPort, stop func()) {
	t.Helper()
	return serveTLSAt(t, host, port, h, nil)
}

func serveTLSAt(t *testing.T, host string, port int, h http.Handler, cfg *tls.Config) (at netip.AddrPort, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		t.Skip("no more loopback addresses: ", err)
	}
	at = netip.MustParseAddrPort(ln.Addr().String())
	if cfg != nil {
		ln = tls.NewListener(ln, cfg)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	stop = func() { _ = srv.Close(); <-done }
	t.Cleanup(stop)
	return at, stop
}

// podAt is a member that answers at the given addresses.
func podAt(pod string, at ...netip.AddrPort) peers.Member {
	m := peers.Member{Pod: pod, Port: int(at[0].Port())}
	for _, a := range at {
		m.Addrs = append(m.Addrs, a.Addr())
	}
	return m
}

func telling(rep peerz.Report) http.Handler {
	return peerz.Handler(func([]string) peerz.Report { return rep })
}

func wantErrors(t *testing.T, b *Book, want map[string]uint64) {
	t.Helper()
	if got := b.Errors(); !maps.Equal(got, want) {
		t.Errorf("errors %v, want %v", got, want)
	}
}

// manyMembers are n pods, more than there are addresses in a /24.
func manyMembers(n int) []peers.Member {
	out := make([]peers.Member, n)
	for i := range out {
		out[i] = peers.Member{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})}, Port: 8080}
	}
	return out
}
