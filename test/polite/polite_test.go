package polite

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	// streams is the number of clients with one stream each.
	streams = 60
	// uneven is the largest load over the mean that counts as even.
	uneven = 1.15
	// evenWithin ends a test that has failed. README.md has what was measured.
	evenWithin = 80 * time.Second
	// wait is how long a stream goes on after its connection was drained.
	wait = 2 * time.Second
	// name is the name by which pods find each other, and which clients resolve.
	name = "hello.test"
)

// pods are a service on loopback.
type pods struct {
	dns        *fleet.DNS
	binary     string
	net        int
	grpc, http int
	args       []string
	all        []*fleet.Server
}

func newPods(t *testing.T, network int, args ...string) *pods {
	t.Helper()
	p := &pods{net: network, args: args, binary: filepath.Join(t.TempDir(), "server")}
	if out, err := exec.Command("go", "build", "-o", p.binary, "./server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var taken []int
	for _, port := range []*int{&p.grpc, &p.http} {
		got, hold, err := fleet.HoldPort(nil, p.host(254), 21500, taken...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hold.Close() })
		*port, taken = got, append(taken, got)
	}
	d, err := fleet.ListenDNS(0, net.JoinHostPort(p.host(250), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	p.dns = d
	t.Cleanup(p.stop)
	return p
}

func (p *pods) host(n int) string { return fmt.Sprintf("127.40.%d.%d", p.net, n) }

// grow starts n pods together and returns the addresses of all.
func (p *pods) grow(t *testing.T, n int) (addrs []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	started, errs := make([]*fleet.Server, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { started[i], errs[i] = p.start(ctx, t, len(p.all)+i+1) })
	}
	wg.Wait()
	for i, s := range started {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		p.all = append(p.all, s)
	}
	var hosts []netip.Addr
	for _, s := range p.all {
		addrs, hosts = append(addrs, s.GRPC()), append(hosts, netip.MustParseAddr(s.Spec.Host))
	}
	p.dns.Set(name, hosts...)
	return addrs
}

func (p *pods) start(ctx context.Context, t *testing.T, n int) (*fleet.Server, error) {
	var log func(string)
	if os.Getenv("POLITE_LOG") != "" {
		log = func(line string) { t.Logf("pod-%d: %s", n, line) }
	}
	return fleet.StartServer(ctx, fleet.ServerSpec{
		Command: []string{p.binary}, Name: fmt.Sprintf("pod-%d", n), Host: p.host(n), GRPCPort: p.grpc, HTTPPort: p.http, Log: log,
		Args: append([]string{
			"-set", "peers.source=dns", "-set", "peers.dns.interval=1s", "-set", "peers.dns.name=" + name + ".", "-set", "peers.dns.server=" + p.dns.Addrs()[0],
			"-set", "shutdown.timeout=4s", // the streams of some pods do not end
		}, p.args...),
	})
}

func (p *pods) stop() {
	for _, s := range p.all {
		s.Terminate()
	}
	for _, s := range p.all {
		s.Stop(time.Minute)
	}
}

// sums adds up the statuses of all pods.
func (p *pods) sums(t *testing.T, g *grown) (text string) {
	t.Helper()
	for _, s := range p.all {
		st, err := s.Status(t.Context())
		if err != nil {
			t.Log(err)
			continue
		}
		g.statuses = append(g.statuses, st)
		g.goaways += int(st.GoAways["reach"] + st.GoAways["even"])
		g.draining += st.Draining
		text += fmt.Sprintf("\n%s: %d connections, %d draining, GOAWAYs %v, %s: %s", st.Pod, st.Connections, st.Draining, st.GoAways, st.Verdict, st.Why)
	}
	return text
}

// ratio returns the largest load over the mean, of those pods that exist.
func ratio(perPod map[string]int, pods int) float64 {
	most := 0
	for pod, n := range perPod {
		if pod != "" {
			most = max(most, n)
		}
	}
	return float64(most) * float64(pods) / streams
}

// grown is what came of a growth from two pods to four.
type grown struct {
	even              time.Duration // 0: not within the time
	ratio             float64
	goaways, draining int
	statuses          []rebalance.Status
}

// grow starts two pods with all clients, then two more, and waits until their streams are even.
func grow(t *testing.T, within time.Duration, network int, args ...string) (grown, *clients) {
	t.Helper()
	p := newPods(t, network, args...)
	c := startClients(t, streams, p.grow(t, 2))
	waitFor(t, 20*time.Second, func() bool { return c.perPod()[""] == 0 })
	if got := c.perPod(); got["pod-1"] != streams/2 || got["pod-2"] != streams/2 {
		t.Fatalf("the clients are on %v, want half on each pod", got)
	}
	begun := time.Now()
	c.publish(p.grow(t, 2))
	var g grown
	even := waitFor(t, within, func() bool { n := c.perPod(); return n[""] == 0 && ratio(n, 4) <= uneven })
	if even {
		g.even = time.Since(begun)
	}
	g.ratio = ratio(c.perPod(), 4)
	text := p.sums(t, &g)
	t.Logf("after %v: streams %v, %.2f of the mean, %d GOAWAYs, %d connections draining%s",
		time.Since(begun).Round(100*time.Millisecond), c.perPod(), g.ratio, g.goaways, g.draining, text)
	return g, c
}

// waitFor waits until ok is true, and reports whether that was within the limit.
func waitFor(t *testing.T, limit time.Duration, ok func() bool) bool {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Streams without end follow their clients to new pods.
func TestStreamsSpreadOverNewPods(t *testing.T) {
	t.Parallel()
	g, c := grow(t, evenWithin, 1, "-wait", wait.String())
	if g.even == 0 {
		t.Errorf("after %v the largest pod has %.2f times the mean, want at most %v", evenWithin, g.ratio, uneven)
	}
	c.stop()
	ended, longest, failures := c.sum()
	t.Logf("even after %v; %d streams ended politely, no client was without one for longer than %v", g.even.Round(100*time.Millisecond), ended, longest.Round(10*time.Millisecond))
	if len(failures) > 0 {
		t.Errorf("%d streams ended in another way:\n%s", len(failures), strings.Join(failures, "\n"))
	}
	if ended == 0 || ended > 2*streams {
		t.Errorf("%d streams were ended, want some, and at most two for each client", ended)
	}
}

// Without the interceptor they stay where they are.
func TestStreamsStayWithoutIt(t *testing.T) {
	t.Parallel()
	g, c := grow(t, 20*time.Second, 2)
	c.stop()
	ended, _, failures := c.sum()
	if g.even != 0 || ended != 0 || len(failures) > 0 {
		t.Errorf("even after %v, %d streams ended politely, failures %v; want uneven streams that go on", g.even, ended, failures)
	}
	t.Run("in flight is not gone", func(t *testing.T) { checkInFlight(t, &g) })
}

// inFlight is what a pod says of the connections that it has drained.
var inFlight = regexp.MustCompile(`^(\d+) drained connections? (?:is|are) waiting for the end of (\d+) streams?, the oldest for (\d+)s`)

// checkInFlight fails the test unless the old pods name what is still in flight, and no more was
// drained than that.
func checkInFlight(t *testing.T, g *grown) {
	t.Helper()
	for _, st := range g.statuses[:2] {
		m := inFlight.FindStringSubmatch(st.Why)
		if m == nil || m[1] != fmt.Sprint(st.Draining) || m[2] != m[1] || m[3] == "0" {
			t.Errorf("%s with %d draining connections says %q, want their number, that of their streams, and the age of the oldest", st.Pod, st.Draining, st.Why)
		}
	}
	if g.goaways > streams || g.goaways != g.draining {
		t.Errorf("%d GOAWAYs, and %d connections are draining; want at most %d, and none of them twice", g.goaways, g.draining, streams)
	}
}
