package serveropts_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
	"google.golang.org/protobuf/types/known/emptypb"
)

// service is a fleet of real grpc servers with real grpc-go clients and real health endpoints.
// All run in one synctest bubble, where virtual hours take moments.
type service struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	cfg    config.Config
	opts   []rebalance.Option // for all pods
	web    http.Handler       // of a web server in each pod, if any

	mu      sync.Mutex
	pods    []*pod
	sources []func(peers.Membership)
	silent  int // the number of pods, counted from the last, that others cannot reach

	calls, failed atomic.Int64
}

type pod struct {
	addr         netip.Addr
	grpc, health *port
	srv          *grpc.Server
	webPort      *port
	webSrv       *serveropts.WebServer // nil without service.web
	bal          *rebalance.Balancer
}

func newService(t *testing.T, change func(*config.Config), opts ...rebalance.Option) *service {
	s := &service{t: t, cfg: config.Default(), opts: opts}
	s.ctx, s.cancel = context.WithCancel(t.Context())
	if change != nil {
		change(&s.cfg)
	}
	return s
}

// Run makes the service a source of peers for each of its pods.
func (s *service) Run(ctx context.Context, report func(peers.Membership)) error {
	s.mu.Lock()
	s.sources = append(s.sources, report)
	s.mu.Unlock()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		report(s.members())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *service) String() string { return "the test's service" }

// DialPeer connects to the health endpoint of a pod, for other pods.
func (s *service) DialPeer(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	pods := s.list()
	for _, p := range pods[:max(len(pods)-silent, 0)] {
		if netip.AddrPortFrom(p.addr, healthPort) == addr {
			return p.health.dial(ctx, addr)
		}
	}
	return nil, errors.New("silent")
}

// silence makes the last n pods unreachable for other pods from now on.
func (s *service) silence(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = n
}

func (s *service) list() []*pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods
}

const healthPort = 8080

func (s *service) members() peers.Membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m peers.Membership
	for _, p := range s.pods {
		m.Members = append(m.Members, peers.Member{Addrs: []netip.Addr{p.addr}})
	}
	return m
}

func (s *service) scale(n int, opts ...rebalance.Option) {
	for len(s.pods) < n {
		s.start(opts)
	}
	s.mu.Lock()
	sources := slices.Clone(s.sources)
	s.mu.Unlock()
	for _, report := range sources {
		report(s.members())
	}
}

// start starts one more pod. opts are for this pod alone.
func (s *service) start(opts []rebalance.Option) {
	n := len(s.pods) + 1
	p := &pod{addr: netip.AddrFrom4([4]byte{198, 18, 0, byte(n)}), grpc: newPort(buffered), health: newPort(net.Pipe)}
	var err error
	p.bal, err = rebalance.New(s.cfg, slices.Concat(s.opts, opts, []rebalance.Option{
		rebalance.WithPeers(s), rebalance.WithSelf(fmt.Sprintf("pod-%d", n), p.addr.String()),
	})...)
	if err != nil {
		s.t.Fatal(err)
	}
	inside.Of(p.bal).SetHealthPort(healthPort)
	p.srv = grpc.NewServer(append(serveropts.Options(p.bal, insecure.NewCredentials()), grpc.UnknownServiceHandler(echo))...)
	health.Register(p.srv, p.bal)
	if s.web != nil {
		s.startWeb(p)
	}
	s.mu.Lock()
	s.pods = append(s.pods, p)
	s.mu.Unlock()
	s.wg.Go(func() { p.srv.Serve(p.grpc) })
	s.wg.Go(func() { health.Serve(s.ctx, p.health, p.bal) })
	s.wg.Go(func() { p.bal.Run(s.ctx) })
}

// echo answers any unary call. A call of the health service would not count as load.
func echo(_ any, stream grpc.ServerStream) error {
	var in emptypb.Empty
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	return stream.SendMsg(&in)
}

// multiHomed starts a client that dials all pods with round_robin, as with a headless Service. It
// calls once every pause until the service stops. Its resolver answers at most once in 30 s.
func (s *service) multiHomed(pause time.Duration) {
	r := manual.NewBuilderWithScheme("virtual")
	r.InitialState(s.addresses())
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	r.ResolveNowCallback = func(resolver.ResolveNowOptions) {
		at := time.Unix(0, last.Load()).Add(30 * time.Second)
		time.AfterFunc(max(time.Until(at), time.Millisecond), func() {
			if s.ctx.Err() == nil {
				last.Store(time.Now().UnixNano())
				r.UpdateState(s.addresses())
			}
		})
	}
	s.client("virtual:///service", s.dial, func() time.Duration { return pause }, grpc.WithResolvers(r),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
}

// client starts a client that calls after each pause until the service stops.
func (s *service) client(target string, dial func(context.Context, string) (net.Conn, error), pause func() time.Duration, opts ...grpc.DialOption) {
	cc, err := grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial), grpc.WithIdleTimeout(0))...)
	if err != nil {
		s.t.Fatal(err)
	}
	cc.Connect()
	s.wg.Go(func() {
		defer cc.Close()
		for s.ctx.Err() == nil {
			if err := cc.Invoke(s.ctx, "/virtual.Service/Echo", &emptypb.Empty{}, &emptypb.Empty{}); err != nil && s.ctx.Err() == nil {
				s.t.Log(err)
				s.failed.Add(1)
			}
			s.calls.Add(1)
			select {
			case <-time.After(pause()):
			case <-s.ctx.Done():
			}
		}
	})
}

func (s *service) addresses() resolver.State {
	var st resolver.State
	for _, m := range s.members().Members {
		st.Addresses = append(st.Addresses, resolver.Address{Addr: m.Addrs[0].String()})
	}
	return st
}

// sharedAddr is the address of all clients that use dial, so they share one key.
var sharedAddr = netip.MustParseAddrPort("198.18.1.1:4711")

func (s *service) dial(ctx context.Context, addr string) (net.Conn, error) {
	for _, p := range s.list() {
		if p.addr.String() == addr {
			return p.grpc.dial(ctx, sharedAddr)
		}
	}
	return nil, errors.New("no such pod")
}

func (s *service) stop() {
	s.cancel()
	for _, p := range s.pods {
		p.srv.Stop()
		if p.webSrv != nil {
			p.webSrv.Stop()
		}
	}
	s.wg.Wait()
	if s.web != nil {
		time.Sleep(time.Second) // Stop does not wait for the handlers of a web server
	}
}

func (s *service) goaways() map[string]uint64 {
	sum := map[string]uint64{}
	for _, p := range s.pods {
		for reason, n := range p.bal.Status().GoAways {
			sum[reason] += n
		}
	}
	return sum
}

func (s *service) wantNoneFailed() {
	s.t.Helper()
	if s.failed.Load() != 0 || s.calls.Load() == 0 {
		s.t.Errorf("%d of %d calls failed, want 0", s.failed.Load(), s.calls.Load())
	}
}

// Promise 2: a balanced service is left alone, however long it runs.
// All pods report throughout; silent pods are tested elsewhere.
func TestBalancedServiceIsLeftAloneForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, nil)
		s.scale(3)
		for range 10 {
			s.multiHomed(time.Minute)
		}
		time.Sleep(day)
		for reason, n := range s.goaways() {
			if n != 0 {
				t.Errorf("got %d GOAWAYs of reason %s in %v of a balanced service, want 0", n, reason, day)
			}
		}
		for _, p := range s.pods {
			if st := p.bal.Status(); st.Connections != 10 || st.Verdict != rebalance.Balanced {
				t.Errorf("%s: got %d connections and %s: %s, want 10 and balanced", st.Pod, st.Connections, st.Verdict, st.Why)
			}
		}
		if s.failed.Load() != 0 || s.calls.Load() < int64(10*day/time.Minute) {
			t.Errorf("%d of %d calls failed, want 0", s.failed.Load(), s.calls.Load())
		}
		s.stop()
	})
}

// Promises 1 and 3: one GOAWAY per channel, and no call fails.
func TestGrowthMovesEachChannelOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, nil)
		s.scale(2)
		for range 20 {
			s.multiHomed(400 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		s.scale(5)
		time.Sleep(3 * time.Minute)
		for _, p := range s.pods {
			if st := p.bal.Status(); st.Connections != 20 || st.Draining != 0 {
				t.Errorf("%s: got %d connections and %d draining, want 20 and 0; %s: %s", st.Pod, st.Connections, st.Draining, st.Verdict, st.Why)
			}
		}
		if n := s.goaways()["reach"]; n != 20 {
			t.Errorf("got %d GOAWAYs of reason reach for 20 channels, want 20", n)
		}
		if s.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed, want 0", s.failed.Load(), s.calls.Load())
		}
		s.stop()
	})
}

// MaxConnectionAge spreads out the drains of connections that were opened together.
func TestAgeDrainsConnectionsGradually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, func(c *config.Config) { c.Policy.MaxConnectionAge = 30 * time.Minute })
		s.scale(1)
		for range 100 {
			s.multiHomed(time.Minute)
		}
		time.Sleep(26 * time.Minute)
		before, total := uint64(0), uint64(0)
		for range 40 * 60 { // two ages: minutes 27 to 33, and 54 to 66
			time.Sleep(time.Second)
			total = s.goaways()["age"]
			if total-before > 10 {
				t.Errorf("got %d of 100 connections drained in one second, want at most 10", total-before)
			}
			before = total
		}
		if total < 190 {
			t.Errorf("got %d drained in two ages of 100 connections, want at least 190", total)
		}
		if s.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed, want 0", s.failed.Load(), s.calls.Load())
		}
		s.stop()
	})
}
