package live

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	grpcstatus "google.golang.org/grpc/status"
)

// balancer passes each connection on to a pod that it picks at random. All connections come
// from its own address, and so do its probes.
type balancer struct {
	front  string
	dialer net.Dialer

	mu     sync.Mutex
	pods   []string
	open   map[net.Conn]bool // nil: closed
	probes int
	failed []string // probes
	wg     sync.WaitGroup
}

func newBalancer(t *testing.T, s *service, source string) *balancer {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(s.host(240), "0"))
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{front: ln.Addr().String(), open: map[net.Conn]bool{}}
	b.dialer = net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	s.changed = b.set
	b.wg.Go(func() { b.serve(ln) })
	t.Cleanup(func() { ln.Close(); b.close() })
	return b
}

func (b *balancer) set(pods []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pods = pods
}

func (b *balancer) close() {
	b.mu.Lock()
	for c := range b.open {
		c.Close()
	}
	b.open = nil
	b.mu.Unlock()
	b.wg.Wait()
}

func (b *balancer) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		b.wg.Go(func() { b.pass(c) })
	}
}

func (b *balancer) pass(client net.Conn) {
	b.mu.Lock()
	to := b.pods[rand.IntN(len(b.pods))]
	b.mu.Unlock()
	pod, err := b.dialer.Dial("tcp", to)
	if err != nil {
		client.Close()
		return
	}
	if !b.keep(client, pod) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { copyAll(pod, client) })
	wg.Go(func() { copyAll(client, pod) })
	wg.Wait()
	b.drop(client, pod)
}

// copyAll copies one direction and passes on its end.
func copyAll(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.(*net.TCPConn).CloseWrite()
}

// keep registers connections, so that close can close them. It reports false after close.
func (b *balancer) keep(conns ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		if b.open == nil {
			c.Close()
			continue
		}
		b.open[c] = true
	}
	return b.open != nil
}

func (b *balancer) drop(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(b.open, c)
	}
}

// startProbes probes all pods from the balancer's address until the test ends: by connecting,
// by health checks on a connection of their own, and by health checks on one that stays.
func (b *balancer) startProbes(ctx context.Context, t *testing.T) {
	t.Helper()
	kept := map[string]healthpb.HealthClient{}
	tick := time.NewTicker(200 * time.Millisecond)
	b.wg.Go(func() {
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			b.mu.Lock()
			pods := b.pods
			b.mu.Unlock()
			for _, pod := range pods {
				b.connect(pod)
				if n%5 == 0 {
					b.checkOnce(ctx, t, pod)
				}
				if kept[pod] == nil {
					conn := dial(t, "passthrough:///"+pod, "pick_first", b.source())
					defer conn.Close()
					kept[pod] = healthpb.NewHealthClient(conn)
				}
				b.check(ctx, kept[pod])
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
}

func (b *balancer) source() string { return b.dialer.LocalAddr.(*net.TCPAddr).IP.String() }

// connect is the probe of a balancer that knows TCP only.
func (b *balancer) connect(pod string) {
	c, err := b.dialer.Dial("tcp", pod)
	if err == nil {
		err = c.Close()
	}
	b.probed(err)
}

func (b *balancer) checkOnce(ctx context.Context, t *testing.T, pod string) {
	t.Helper()
	conn := dial(t, "passthrough:///"+pod, "pick_first", b.source())
	defer conn.Close()
	b.check(ctx, healthpb.NewHealthClient(conn))
}

func (b *balancer) check(ctx context.Context, c healthpb.HealthClient) {
	if _, err := c.Check(ctx, &healthpb.HealthCheckRequest{}); grpcstatus.Code(err) != codes.Canceled {
		b.probed(err)
	}
}

func (b *balancer) probed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probes++
	if err != nil {
		b.failed = append(b.failed, err.Error())
	}
}

func (b *balancer) results() (probes int, failed []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.probes, slices.Clone(b.failed)
}

const (
	// behind is the number of clients behind the balancer.
	behind = 60
	// perClient is the limit on GOAWAYs per client from 2 to 4 pods. Half of the clients must
	// move, and a connection lands on a new pod one time in two: 1.0 with a deviation of 0.13.
	perClient = 1.5
)

// A balancer probes the pods from the address from which its clients' connections come. The
// probes are no clients, and none of them has come back.
func TestProbesFromClientsAddress(t *testing.T) {
	t.Parallel()
	for i, probe := range []bool{false, true} {
		t.Run(map[bool]string{false: "without probes", true: "with probes"}[probe], func(t *testing.T) {
			t.Parallel()
			growBehind(t, 4+i, probe)
		})
	}
}

func growBehind(t *testing.T, network int, probe bool) {
	t.Helper()
	s := newService(t, network, exampleServer)
	b := newBalancer(t, s, from(network, 1)(0))
	s.grow(t, 2)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if probe {
		b.startProbes(ctx, t)
	}
	cs := start(t, behind, "pick_first", "passthrough:///"+b.front, false, func(int) string { return "127.0.0.1" })
	cs.awaitAnswers(t)
	before := s.settle(t)
	t.Logf("on two pods: %v, %d GOAWAYs", cs.perPod(), before)
	begun := time.Now()
	s.grow(t, 2)
	even := within(120*time.Second, func() bool { return evenBehind(cs) })
	took := time.Since(begun)
	cost := s.settle(t) - before
	probes, failed := b.results()
	t.Logf("even after %.1f s (%v), in the end %v, %d GOAWAYs, %d probes", took.Seconds(), even, cs.perPod(), cost, probes)
	if !even || !evenBehind(cs) {
		t.Errorf("the clients are on %v, want at most 1.15 times the mean on each and at least 0.65", cs.perPod())
	}
	if cost > perClient*behind {
		t.Errorf("%d GOAWAYs for %d clients, want at most %v each", cost, behind, perClient)
	}
	cs.check(t)
	if len(failed) > 0 {
		t.Errorf("%d probes failed, such as %s", len(failed), failed[0])
	}
}

func evenBehind(cs *clients) bool {
	per := cs.perPod()
	for i := range 4 {
		if n := float64(per[podName(i+1)]) * 4 / behind; n > 1.15 || n < 0.65 {
			return false
		}
	}
	return true
}
