package rebalance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/peers"
)

// zone is a DNS resolver whose answers the test sets.
type zone struct {
	mu    sync.Mutex
	addrs []netip.Addr
}

func (z *zone) Addrs(context.Context, string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.addrs), nil
}

func (z *zone) set(m peers.Membership) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs = nil
	for _, one := range m.Members {
		z.addrs = append(z.addrs, one.Addrs...)
	}
}

// gated runs a Balancer whose clients resolve name, or the name that the source gives, in z.
func gated(t *testing.T, src peers.Source, z *zone, name string) *Balancer {
	t.Helper()
	cfg := config.Default()
	cfg.Shutdown.Timeout = 30 * time.Second
	b, err := New(cfg, WithPeers(src), WithSelf("pod-a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	b.clientDNS.resolver = z
	if name != "" {
		b.clientDNS.fixed = true
		b.clientDNS.set(name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// visitor connects a client that gets its SETTINGS, opens no stream, and reads everything.
func visitor(t *testing.T, b *Balancer) {
	t.Helper()
	client, server := net.Pipe()
	conn := inside.Of(b).Track(server, nil)
	begin(conn, h2conn.Ready)
	go io.Copy(io.Discard, client)
	if err := http2.NewFramer(conn, nil).WriteSettings(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); conn.Close() })
}

func TestNothingMovesBeforeDNSListsAllPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, z := &hand{renew: true}, &zone{}
		b := gated(t, src, z, "hello.test")
		visitor(t, b)
		one, two := pods("198.18.0.1"), pods("198.18.0.1", "198.18.0.2")
		z.set(one)
		src.set(one)
		time.Sleep(time.Minute)
		wantVerdict(t, b, Balanced, "alone")

		src.set(two)
		for range 200 { // also in the very step in which the growth is found
			time.Sleep(100 * time.Millisecond)
			if n := b.Status().Draining; n != 0 {
				t.Fatalf("%d connections were drained before DNS listed all pods", n)
			}
		}
		wantVerdict(t, b, Waiting, "hello.test lists 1 of 2 pods (missing: 198.18.0.2)")
		if hasCondition(b, "dns-behind") {
			t.Error("the condition shows before its time")
		}
		time.Sleep(15 * time.Second)
		if !hasCondition(b, "dns-behind") {
			t.Error("no condition although DNS has been behind for 35 s")
		}

		z.set(two)
		time.Sleep(5 * time.Second)
		if s := b.Status(); s.Draining != 1 || s.GoAways["reach"] != 1 {
			t.Errorf("%d draining, GOAWAYs %v, want the one connection drained once", s.Draining, s.GoAways)
		}
		if hasCondition(b, "dns-behind") {
			t.Error("the condition stays although DNS lists all pods")
		}
	})
}

func TestNewPodWaitsForDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, z := &hand{renew: true}, &zone{}
		z.set(pods("198.18.0.2"))
		b := gated(t, src, z, "hello.test")
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(5 * time.Second)
		wantVerdict(t, b, Waiting, "this pod is new")
		z.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(5 * time.Second)
		wantVerdict(t, b, Balanced, "2 pods")
	})
}

func TestSourceGivesTheClientsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, z := &hand{renew: true}, &zone{}
		b := gated(t, src, z, "")
		visitor(t, b)
		one, two, three := pods("198.18.0.1"), pods("198.18.0.1", "198.18.0.2"), pods("198.18.0.1", "198.18.0.2", "198.18.0.3")
		for _, m := range []*peers.Membership{&one, &two} {
			m.ClientName = "hello-headless.shop.svc.cluster.local."
		}
		z.set(one)
		src.set(one)
		time.Sleep(time.Minute)
		src.set(two)
		time.Sleep(20 * time.Second)
		if n := b.Status().Draining; n != 0 {
			t.Fatalf("%d connections were drained before DNS listed all pods", n)
		}
		wantVerdict(t, b, Waiting, "hello-headless.shop.svc.cluster.local. lists 1 of 2 pods")
		z.set(two)
		time.Sleep(5 * time.Second)
		if n := b.Status().GoAways["reach"]; n != 1 {
			t.Errorf("%d GOAWAYs after DNS listed all pods, want 1", n)
		}

		// A Service that is no longer headless has no name to wait for.
		src.set(three)
		time.Sleep(10 * time.Second)
		if v := b.Status(); v.Verdict == Waiting || hasCondition(b, "dns-behind") {
			t.Errorf("%s (%s) without a name to wait for", v.Verdict, v.Why)
		}
	})
}

func TestConfiguredNameWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, z := &hand{renew: true}, &zone{}
		b := gated(t, src, z, "hello.test")
		one := pods("198.18.0.1")
		one.ClientName = "other.test"
		src.set(one)
		time.Sleep(time.Second)
		if name := b.clientDNS.gate.Load().Name(); name != "hello.test" {
			t.Errorf("the gate resolves %s, want hello.test", name)
		}
	})
}

// Planning waits for starting pods, and says so.
func TestStartingPodsAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, z := &hand{renew: true}, &zone{}
		b := gated(t, src, z, "hello.test")
		one, two, three := pods("198.18.0.1"), pods("198.18.0.1", "198.18.0.2"), pods("198.18.0.1", "198.18.0.2", "198.18.0.3")
		z.set(one)
		src.set(one)
		time.Sleep(time.Minute)
		visitor(t, b)
		z.set(three)
		two.Starting = 1
		src.set(two)
		time.Sleep(10 * time.Second)
		wantVerdict(t, b, Waiting, "waiting for 1 more to become ready")
		if n := b.Status().GoAways["reach"]; n != 0 {
			t.Errorf("%d GOAWAYs while a pod is starting", n)
		}
		src.set(three)
		time.Sleep(10 * time.Second)
		if n := b.Status().GoAways["reach"]; n != 1 {
			t.Errorf("%d GOAWAYs for two pods that came in two steps, want 1", n)
		}
	})
}

// lookedUp is a name, and the server that knows it.
type lookedUp struct{ name, server string }

// The name that the gate resolves, and the server that it asks.
func TestClientDNSFollowsFromTheConfiguration(t *testing.T) {
	const system = "system resolver"
	for _, tc := range []struct {
		what, source           string
		peers, clients         lookedUp
		wantName, wantResolver string
	}{
		{"peers' name", config.SourceDNS, lookedUp{"hello.test", "198.18.0.1"}, lookedUp{}, "hello.test", "198.18.0.1:53"},
		{"of SRV records", config.SourceDNS, lookedUp{"_grpc._tcp.hello.test", ""}, lookedUp{}, "hello.test", system},
		{"a server of the clients'", config.SourceDNS, lookedUp{"hello.test", "198.18.0.1"}, lookedUp{"", "198.18.0.2"}, "hello.test", "198.18.0.2:53"},
		{"a name of the clients'", config.SourceDNS, lookedUp{"hello.test", "198.18.0.1"}, lookedUp{"shop.test", ""}, "shop.test", system},
		{"the source's name", config.SourceKubernetes, lookedUp{}, lookedUp{"", "198.18.0.2"}, "learned.test", "198.18.0.2:53"},
	} {
		cfg := config.Default()
		cfg.Peers.Source, cfg.Peers.DNS.Name, cfg.Peers.DNS.Server = tc.source, tc.peers.name, tc.peers.server
		cfg.Clients.DNS.Name, cfg.Clients.DNS.Server = tc.clients.name, tc.clients.server
		var d clientDNS
		if err := d.prepare(&cfg); err != nil {
			t.Fatal(err)
		}
		d.learn("learned.test")
		if got := d.gate.Load().Name(); got != tc.wantName {
			t.Errorf("%s: the gate resolves %q, want %q", tc.what, got, tc.wantName)
		}
		if got := fmt.Sprint(d.resolver); got != tc.wantResolver {
			t.Errorf("%s: the gate asks the server %q, want %q", tc.what, got, tc.wantResolver)
		}
	}
}
