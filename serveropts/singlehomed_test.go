package serveropts_test

import (
	"context"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// sticky is a fleet of clients with pick_first behind a ClusterIP: each has one connection,
// to a pod by chance.
type sticky struct {
	*service

	clients int

	mu    sync.Mutex
	pause time.Duration      // between two calls of a client
	only  int                // the pod, from 1, that all new connections go to; 0: any
	dials map[netip.Addr]int // how often each client connected
}

func newSticky(t *testing.T, change func(*config.Config), opts ...rebalance.Option) *sticky {
	return &sticky{service: newService(t, change, opts...), pause: time.Second, dials: map[netip.Addr]int{}}
}

// add adds n clients, each at an address of its own, and waits until they are connected.
func (s *sticky) add(n int) {
	for range n {
		s.addOne(s.usual)
	}
}

// addOne returns the client's address, which is its key.
func (s *sticky) addOne(pause func() time.Duration) netip.Addr {
	s.clients++
	n := s.clients
	from := netip.AddrFrom4([4]byte{198, 18, 1, byte(n)})
	chance := rand.New(rand.NewPCG(1, uint64(n)))
	s.client("passthrough:///service", func(ctx context.Context, _ string) (net.Conn, error) {
		return s.land(from, chance).dial(ctx, netip.AddrPortFrom(from, 4711))
	}, pause)
	synctest.Wait()
	return from
}

// land is where kube-proxy sends a new connection of the client at from.
func (s *sticky) land(from netip.Addr, chance *rand.Rand) *port {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials[from]++
	pods := s.list()
	if s.only > 0 {
		return pods[s.only-1].grpc
	}
	return pods[chance.IntN(len(pods))].grpc
}

func (s *sticky) dialsOf(from netip.Addr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials[from]
}

// all sends the new connections to one pod, from 1, from now on; 0: to any.
func (s *sticky) all(to int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.only = to
}

func (s *sticky) every(pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause = pause
}

func (s *sticky) usual() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pause
}

// wantInside checks that all pods are inside the band and say so.
func (s *sticky) wantInside() {
	s.t.Helper()
	mean := float64(s.clients) / float64(len(s.pods))
	over := max(math.Ceil(mean*1.1-1e-9), math.Floor(mean)+1)
	sum := 0
	for _, p := range s.pods {
		st := p.bal.Status()
		sum += st.Connections - st.Draining
		if n := float64(st.Connections - st.Draining); n > over || n < 0.7*mean-1e-9 {
			s.t.Errorf("%s: %v connections, want %v to %v", st.Pod, n, 0.7*mean, over)
		}
		if st.Verdict != rebalance.Balanced || !strings.Contains(st.Why, "are inside the band") {
			s.t.Errorf("%s: %s: %s", st.Pod, st.Verdict, st.Why)
		}
	}
	if sum != s.clients {
		s.t.Errorf("%d connections of %d clients", sum, s.clients)
	}
}

// Promise 3: sticky connections move only as far as evenness needs, and then never.
func TestStickyClientsComeToANewPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSticky(t, nil)
		s.scale(3)
		s.add(30)
		time.Sleep(2 * time.Minute)
		s.wantInside()
		before := s.goaways()["even"]
		s.scale(4)
		time.Sleep(2 * time.Minute)
		s.wantInside()
		after := s.goaways()["even"]
		if n := after - before; n == 0 || n > 39 {
			t.Errorf("%d GOAWAYs for 30 connections, want 1 to 39", n)
		}
		t.Logf("%d GOAWAYs to even out 3 pods, %d more for the fourth", before, after-before)
		s.every(10 * time.Second)
		time.Sleep(hour)
		s.wantInside()
		if sum := s.goaways(); sum["even"] != after || sum["reach"] != 0 || sum["overload"] != 0 {
			t.Errorf("%v GOAWAYs %v later, want even: %d", sum, hour, after)
		}
		s.wantNoneFailed()
		s.stop()
	})
}

// Promise 5: nothing moves on what too few pods have told; and what is overdue moves as
// soon as they tell.
func TestStickyClientsStayWhilePodsAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSticky(t, nil)
		s.hush(2)
		s.scale(5)
		s.all(1)
		s.add(20)
		s.all(0)
		s.add(20)
		time.Sleep(3 * time.Minute)
		for reason, n := range s.goaways() {
			if n != 0 {
				t.Errorf("%d GOAWAYs for %s while two of four other pods are silent", n, reason)
			}
		}
		for _, p := range s.pods[:3] {
			st := p.bal.Status()
			if st.Verdict != rebalance.Stale || !strings.Contains(st.Why, "only 2 of 4 other pods reported their load") {
				t.Errorf("%s: %s: %s", st.Pod, st.Verdict, st.Why)
			}
		}
		if n := s.pods[0].bal.Status().Connections; n < 20 {
			t.Errorf("%d connections on the pod that should be overfull", n)
		}
		s.hush(0)
		time.Sleep(2 * time.Minute)
		s.wantInside()
		if n := s.goaways()["even"]; n == 0 || n > 52 {
			t.Errorf("%d GOAWAYs for 40 connections, want 1 to 52", n)
		}
		s.wantNoneFailed()
		s.stop()
	})
}
