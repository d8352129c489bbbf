package live

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

const (
	victims = 60 // clients of a service that is attacked, or that has a broken pod
	// attackedFor is for how long a pod hangs or lies. Rounds follow each other after 30 s.
	attackedFor = 100 * time.Second
)

// The handlers of one of three pods hang, so that it answers no requests and looks idle by
// them, while a fourth pod comes and clients move. Clients that move land on any pod, on this one
// too. It keeps no more of them than its share.
func TestHangingPod(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "hang")
	s := newService(t, 11, politeServer, "-set", "rebalance.weight=requests")
	s.grow(t, 2)
	s.args = append(s.args, "-hang", file)
	s.grow(t, 1)
	cs := startHasty(t, victims, "pick_first", s.target(), false, time.Second, from(11, 1))
	cs.awaitAnswers(t)
	during(resolverRest, func() {})
	s.settle(t)
	before := s.held(t)
	t.Logf("before the pod hangs: %v, %d GOAWAYs", before, s.goAways(t))

	write(t, file, "")
	most, sent := victims/3, s.goAways(t) // the share of one of four is 15
	got := before["pod-3"]
	s.args = s.args[:2]
	s.grow(t, 1)
	during(attackedFor, func() { got = max(got, s.held(t)["pod-3"]) })
	last := s.held(t)
	t.Logf("it had at most %d of %d clients, in the end %v, after %d GOAWAYs", got, victims, last, s.goAways(t)-sent)
	if last["pod-3"] > most {
		t.Errorf("a pod that hangs has %d clients, want %d at most", last["pod-3"], most)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// held counts the connections of each pod that do not drain.
func (s *service) held(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, st := range s.statuses(t) {
		n[st.Pod] = st.Connections - st.Draining
	}
	return n
}

// liar is a pod that serves, and always reports that it has no load.
type liar struct {
	hellov1.UnimplementedHelloServiceServer

	clients atomic.Int64
}

func (l *liar) Hi(context.Context, *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	return &hellov1.HiResponse{Pod: "liar"}, nil
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	report := map[string]any{
		"pod": "liar", "ready": true, "generation": 1, "connections": 0, "uptimeMillis": time.Hour.Milliseconds(),
		"loads": map[string]float64{"connections": 0, "requests": 0, "streams": 0},
	}
	if r.URL.Query().Get("keys") != "" {
		report["keys"] = map[string]int{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(report)
}

// counted is a listener that counts the connections that are open.
type counted struct {
	net.Listener

	open *atomic.Int64
}

func (c counted) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countedConn{Conn: nc, open: c.open}, nil
}

type countedConn struct {
	net.Conn

	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedConn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// startLiar adds a liar to the service.
func startLiar(t *testing.T, s *service, host string) *liar {
	t.Helper()
	l := &liar{}
	srv := grpc.NewServer()
	hellov1.RegisterHelloServiceServer(srv, l)
	lis := listen(t, netip.AddrPortFrom(netip.MustParseAddr(host), uint16(s.grpc)))
	go func() { _ = srv.Serve(counted{lis, &l.clients}) }()
	t.Cleanup(srv.Stop)
	web := &http.Server{Handler: l, ReadHeaderTimeout: time.Minute}
	answers := listen(t, netip.AddrPortFrom(netip.MustParseAddr(host), uint16(s.http)))
	go func() { _ = web.Serve(answers) }()
	t.Cleanup(func() { web.Close() })
	s.liars = append(s.liars, netip.MustParseAddr(host))
	s.publish()
	return l
}

func listen(t *testing.T, at netip.AddrPort) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

// A pod that always reports no load draws clients, but no more than its share and a tenth.
func TestLyingPod(t *testing.T) {
	t.Parallel()
	s := newService(t, 12, exampleServer)
	s.grow(t, 2)
	cs := start(t, victims, "pick_first", s.target(), false, from(12, 1))
	cs.awaitAnswers(t)
	during(resolverRest, func() {})
	sent := s.settle(t)
	l := startLiar(t, s, s.host(3))
	var got int64
	during(attackedFor, func() { got = max(got, l.clients.Load()) })
	t.Logf("the liar had at most %d of %d clients, the others %v in the end, after %d GOAWAYs", got, victims, s.held(t), s.goAways(t)-sent)
	if most := int64(victims/3*11) / 10; got > most {
		t.Errorf("a pod that reports no load got %d clients, want %d at most", got, most)
	}
	cs.check(t)
}

const (
	honest = 30
	// hoarded is how many connections one client opens, which come back at once whenever they
	// are drained.
	hoarded = 150
	// leastHonest and mostHonest are about half more or less than the mean on four pods, which
	// chance does not need more than two rounds for.
	leastHonest, mostHonest = 4, 11
)

// One client that hoards connections delays the evenness of the others by a factor of two at
// most. Rounds follow each other once resolvers have rested, so the time without it counts as
// one rest at least: by chance the first round may be enough.
func TestHoardingClient(t *testing.T) {
	t.Parallel()
	took := map[bool]time.Duration{}
	t.Run("services", func(t *testing.T) {
		t.Run("honest", func(t *testing.T) { took[false] = honestEven(t, 13, false) })
		t.Run("hoarding", func(t *testing.T) { took[true] = honestEven(t, 14, true) })
	})
	if took[true] > 2*max(took[false], resolverRest) {
		t.Errorf("the honest are even after %v beside a client that hoards connections, and after %v without", took[true], took[false])
	}
}

// honestEven returns how long the honest clients of two pods take to be even on four.
func honestEven(t *testing.T, network int, hoards bool) time.Duration {
	s := newService(t, network, exampleServer)
	s.grow(t, 2)
	cs := start(t, honest, "pick_first", s.target(), false, from(network, 1))
	cs.awaitAnswers(t)
	if hoards {
		hoard(t, s.pods[0].GRPC(), s.host(200))
	}
	during(resolverRest, func() {})
	s.settle(t)
	t.Logf("on two pods: %v", cs.perPod())
	begun := time.Now()
	s.grow(t, 2)
	eventually(t, 4*time.Minute, "the honest are not even", func() bool {
		for _, n := range s.fresh(cs) {
			if n < leastHonest || n > mostHonest {
				return false
			}
		}
		return true
	})
	took := time.Since(begun)
	t.Logf("even after %.1f s: %v, %v connections, %d GOAWAYs", took.Seconds(), cs.perPod(), s.held(t), s.goAways(t))
	cs.check(t)
	return took
}

// fresh counts the clients by the pod that answered last, with a zero for a pod without any.
func (s *service) fresh(cs *clients) map[string]int {
	n := cs.perPod()
	for _, p := range s.pods {
		n[p.Spec.Name] += 0
	}
	return n
}

// hoard opens many connections to one pod from one address, and again whenever they end.
func hoard(t *testing.T, target, source string) {
	t.Helper()
	for range hoarded {
		conn := dial(t, "passthrough:///"+target, "pick_first", source)
		t.Cleanup(func() { conn.Close() })
		go func() {
			for {
				state := conn.GetState()
				conn.Connect()
				if !conn.WaitForStateChange(t.Context(), state) {
					return
				}
			}
		}()
	}
}
