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

// singleHomed is a service whose clients use pick_first behind a ClusterIP: each has one
// connection, to a random pod.
type singleHomed struct {
	*service

	clients int

	mu    sync.Mutex
	pause time.Duration      // between two calls of a client
	only  int                // the pod, from 1, that gets all new connections; 0: a random one
	dials map[netip.Addr]int // how often each client has connected
}

func newSingleHomed(t *testing.T, change func(*config.Config), opts ...rebalance.Option) *singleHomed {
	return &singleHomed{service: newService(t, change, opts...), pause: time.Second, dials: map[netip.Addr]int{}}
}

// add adds n clients, each with its own address, and waits until they are connected.
func (s *singleHomed) add(n int) {
	for range n {
		s.addOne(s.currentPause)
	}
}

// addOne adds a client and returns its address, which is its key.
func (s *singleHomed) addOne(pause func() time.Duration) netip.Addr {
	s.clients++
	n := s.clients
	from := netip.AddrFrom4([4]byte{198, 18, 1, byte(n)})
	chance := rand.New(rand.NewPCG(1, uint64(n)))
	s.client("passthrough:///service", func(ctx context.Context, _ string) (net.Conn, error) {
		return s.pick(from, chance).dial(ctx, netip.AddrPortFrom(from, 4711))
	}, pause)
	synctest.Wait()
	return from
}

// pick picks the pod for a new connection of the client at from, as kube-proxy does.
func (s *singleHomed) pick(from netip.Addr, chance *rand.Rand) *port {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials[from]++
	pods := s.list()
	if s.only > 0 {
		return pods[s.only-1].grpc
	}
	return pods[chance.IntN(len(pods))].grpc
}

func (s *singleHomed) dialsOf(from netip.Addr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials[from]
}

// steer sends all further connections to one pod, counted from 1, or to random pods if to is 0.
func (s *singleHomed) steer(to int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.only = to
}

func (s *singleHomed) setPause(pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause = pause
}

func (s *singleHomed) currentPause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pause
}

// wantInside checks that all pods are inside the band and report this.
func (s *singleHomed) wantInside() {
	s.t.Helper()
	mean := float64(s.clients) / float64(len(s.pods))
	over := max(math.Ceil(mean*1.1-1e-9), math.Floor(mean)+1)
	sum := 0
	for _, p := range s.pods {
		st := p.bal.Status()
		sum += st.Connections - st.Draining
		if n := float64(st.Connections - st.Draining); n > over || n < 0.7*mean-1e-9 {
			s.t.Errorf("%s: got %v connections, want %v to %v", st.Pod, n, 0.7*mean, over)
		}
		if st.Verdict != rebalance.Balanced || !strings.Contains(st.Why, "are inside the band") {
			s.t.Errorf("%s: got %s: %s, want balanced", st.Pod, st.Verdict, st.Why)
		}
	}
	if sum != s.clients {
		s.t.Errorf("got %d connections, want one for each of %d clients", sum, s.clients)
	}
}

// Promise 3: single-homed connections move only as far as evenness needs, and then never.
func TestSingleHomedClientsReachANewPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingleHomed(t, nil)
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
			t.Errorf("got %d GOAWAYs for 30 connections, want 1 to 39", n)
		}
		t.Logf("%d GOAWAYs to even out 3 pods, %d more for the fourth", before, after-before)
		s.setPause(10 * time.Second)
		time.Sleep(hour)
		s.wantInside()
		if sum := s.goaways(); sum["even"] != after || sum["reach"] != 0 || sum["overload"] != 0 {
			t.Errorf("got GOAWAYs %v after another %v, want only even: %d", sum, hour, after)
		}
		s.wantNoneFailed()
		s.stop()
	})
}

// Promise 5: no connection moves while too few pods report their loads. Once they report, the
// overdue drains happen.
func TestSingleHomedClientsStayWhilePodsAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSingleHomed(t, nil)
		s.silence(2)
		s.scale(5)
		s.steer(1)
		s.add(20)
		s.steer(0)
		s.add(20)
		time.Sleep(3 * time.Minute)
		for reason, n := range s.goaways() {
			if n != 0 {
				t.Errorf("got %d GOAWAYs of reason %s while two of four other pods are silent, want 0", n, reason)
			}
		}
		for _, p := range s.pods[:3] {
			st := p.bal.Status()
			if st.Verdict != rebalance.Stale || !strings.Contains(st.Why, "only 2 of 4 other pods reported their load") {
				t.Errorf("%s: got %s: %s, want stale", st.Pod, st.Verdict, st.Why)
			}
		}
		if n := s.pods[0].bal.Status().Connections; n < 20 {
			t.Errorf("got %d connections on the over-loaded pod, want at least 20", n)
		}
		s.silence(0)
		time.Sleep(2 * time.Minute)
		s.wantInside()
		if n := s.goaways()["even"]; n == 0 || n > 52 {
			t.Errorf("got %d GOAWAYs for 40 connections, want 1 to 52", n)
		}
		s.wantNoneFailed()
		s.stop()
	})
}
