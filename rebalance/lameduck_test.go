package rebalance

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
)

func TestLameDuckByName(t *testing.T) {
	v4, v6 := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("fd00::1")
	for name, tc := range map[string]struct {
		self    string
		addr    netip.Addr
		listed  time.Duration // how long the source lists it, and DNS answers with it
		inDNS   time.Duration
		resolve string
	}{
		"no address":        {"", v4, 4 * time.Second, 0, ""},
		"the other family":  {v4.String(), v6, 4 * time.Second, 0, ""},
		"longer in DNS":     {v4.String(), v6, time.Second, 7 * time.Second, "hello.test"},
		"no address in DNS": {"", v4, time.Second, 7 * time.Second, "hello.test"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("pod-a", tc.self))
				if err != nil {
					t.Fatal(err)
				}
				me, other := peers.Member{Pod: "pod-a", Addrs: []netip.Addr{tc.addr}}, peers.Member{Pod: "pod-b", Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.2")}}
				both, one := peers.Membership{Members: []peers.Member{me, other}}, peers.Membership{Members: []peers.Member{other}}
				z := &zone{}
				z.set(both)
				if b.clientDNS.resolver = z; tc.resolve != "" {
					b.clientDNS.fixed = true
					b.clientDNS.set(tc.resolve)
				}
				b.peers.Update(both)
				b.running.Store(true)
				time.AfterFunc(tc.listed, func() { b.peers.Update(one) })
				time.AfterFunc(tc.inDNS, func() { z.set(one) })
				begun := time.Now()
				b.waitForgotten(t.Context(), 10*time.Second)
				if took, want := time.Since(begun), max(tc.listed, tc.inDNS); took < want || took > want+time.Second {
					t.Errorf("waited %v, want %v", took, want)
				}
			})
		})
	}
}

func TestLameDuckWithoutRun(t *testing.T) {
	for name, tc := range map[string]struct {
		ends    time.Duration // when Run ends
		inDNS   time.Duration
		resolve string
		want    time.Duration
	}{
		"ended before":       {ends: -1, want: 0},
		"ends meanwhile":     {ends: 3 * time.Second, want: 3 * time.Second},
		"ended, but DNS has": {ends: -1, inDNS: 7 * time.Second, resolve: "hello.test", want: 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged strings.Builder
				src := &hand{renew: true}
				b, err := New(config.Default(), WithPeers(src), WithSelf("pod-a", "198.18.0.1"), WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
				if err != nil {
					t.Fatal(err)
				}
				z := &zone{}
				z.set(pods("198.18.0.1"))
				b.clientDNS.resolver, b.clientDNS.fixed = z, true
				b.clientDNS.set(tc.resolve)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); b.Run(ctx) }()
				src.set(pods("198.18.0.1", "198.18.0.2"))
				synctest.Wait()
				if tc.ends < 0 {
					cancel()
					<-done
				} else {
					time.AfterFunc(tc.ends, cancel)
				}
				time.AfterFunc(tc.inDNS, func() { z.set(peers.Membership{}) })
				begun := time.Now()
				b.waitForgotten(t.Context(), 10*time.Second)
				if took := time.Since(begun).Round(time.Second); took != tc.want {
					t.Errorf("waited %v, want %v", took, tc.want)
				}
				if n := strings.Count(logged.String(), "level=ERROR"); n != 1 || !strings.Contains(logged.String(), "Run has ended") {
					t.Errorf("%d errors are logged, want one:\n%s", n, &logged)
				}
				<-done
			})
		})
	}
}

func TestShutdownMinimum(t *testing.T) {
	for name, tc := range map[string]struct {
		peers    bool
		forgets  time.Duration // when the source forgets the pod; 0: never
		graceful time.Duration // when GracefulStop comes, at the earliest
		err      error
	}{
		"no source":           {graceful: 20 * time.Second},
		"forgotten meanwhile": {peers: true, forgets: 5 * time.Second, graceful: 20 * time.Second},
		"forgotten later":     {peers: true, forgets: 22 * time.Second, graceful: 22 * time.Second},
		"remembered":          {peers: true, graceful: 23330 * time.Millisecond}, // and a third of the 10 s that are left
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{renew: true}
				slow := func(c *config.Config) { c.Shutdown.Minimum = 20 * time.Second }
				var b *Balancer
				if tc.peers {
					b = started(t, src, slow)
					src.set(pods("198.18.0.1", "198.18.0.2"))
				} else {
					b = started(t, nil, slow)
				}
				visitor(t, b)
				if tc.forgets > 0 {
					time.AfterFunc(tc.forgets, func() { src.set(pods("198.18.0.2")) })
				}
				srv := &slowServer{b: b, takes: time.Second, stopped: make(chan struct{})}
				begun := time.Now()
				time.AfterFunc(19*time.Second, func() {
					if st := b.Status(); st.Draining != 0 || st.Ready {
						t.Errorf("after 19 s, %d connections are drained, ready: %v", st.Draining, st.Ready)
					}
				})
				if err := b.Shutdown(t.Context(), srv); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				if at := srv.graceful.Sub(begun); at < tc.graceful || at > tc.graceful+1500*time.Millisecond {
					t.Errorf("GracefulStop after %v, want %v and the spread", at, tc.graceful)
				}
			})
		})
	}
}
