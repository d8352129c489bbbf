package singlehomed

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// name is what the pods, and clients with round_robin, resolve.
const name = "hello.test"

// proxyLag is how long after the pods the balancer learns of a change, as kube-proxy
// does.
const proxyLag = 500 * time.Millisecond

// clusterIP is what stands between sticky clients and the pods, and chooses by
// chance among them for each new connection.
type clusterIP interface {
	// front is where client i connects to, and from which address; empty: any.
	front(i int) (addr, source string)
	// set replaces the pods ("host:port").
	set(t *testing.T, pods []string)
}

// place is where a service lives. Each test has its own.
type place struct {
	pod        func(n int) string // 1 is the first
	dns, guard string
}

// loopback gives each net addresses that no other test uses.
func loopback(net int) place {
	return place{
		pod:   func(n int) string { return fmt.Sprintf("127.21.%d.%d", net, n) },
		dns:   fmt.Sprintf("127.21.%d.250", net),
		guard: fmt.Sprintf("127.21.%d.254", net),
	}
}

// most is how many pods a service may have.
const most = 8

// service is some pods, their DNS and their ClusterIP.
type service struct {
	place

	dns   *fleet.DNS
	ports struct{ grpc, http int }
	// flags are further ones for pod n.
	flags func(n int) []string
	vip   clusterIP
	extra []string // addresses in DNS beside the pods

	pods []*fleet.Server // those that serve
	last int             // the highest number that a pod got
}

func newService(t *testing.T, at place) *service {
	t.Helper()
	s := &service{place: at, flags: func(int) []string { return nil }}
	// The addresses are this test's own, so that the guard is all that must be free. To
	// try each would not do: a process that is just being started holds what was closed
	// for another moment.
	var taken []int
	for _, port := range []*int{&s.ports.grpc, &s.ports.http} {
		got, hold, err := fleet.HoldPort(nil, at.guard, 21100, taken...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hold.Close() })
		*port, taken = got, append(taken, got)
	}
	d, err := fleet.ListenDNS(0, net.JoinHostPort(at.dns, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s.dns = d
	t.Cleanup(s.stop)
	return s
}

// grow starts n pods at a time. Those of a rollout would be ready one after the
// other; that is another test's matter.
func (s *service) grow(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	started := make([]*fleet.Server, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { started[i], errs[i] = s.start(ctx, t, s.last+i+1) })
	}
	wg.Wait()
	s.last += n
	for i, p := range started {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		s.pods = append(s.pods, p)
	}
	s.tell(t)
}

func (s *service) start(ctx context.Context, t *testing.T, n int) (*fleet.Server, error) {
	var log func(string)
	if *serverLog {
		log = func(line string) { t.Logf("pod-%d: %s", n, line) }
	}
	return fleet.StartServer(ctx, fleet.ServerSpec{
		Command: []string{serverBinary}, Name: fmt.Sprintf("pod-%d", n), Host: s.pod(n),
		GRPCPort: s.ports.grpc, HTTPPort: s.ports.http, Log: log,
		Args: append([]string{
			"-set", "peers.source=dns", "-set", "peers.dns.name=" + name + ".", "-set", "peers.dns.server=" + s.dns.Addrs()[0],
		}, s.flags(n)...),
	})
}

// tell has DNS answer with the pods at once, and the balancer choose among them a
// moment later.
func (s *service) tell(t *testing.T) {
	t.Helper()
	var addrs []netip.Addr
	var backends []string
	for _, p := range s.pods {
		addrs = append(addrs, netip.MustParseAddr(p.Spec.Host))
		backends = append(backends, p.GRPC())
	}
	for _, host := range s.extra {
		addrs = append(addrs, netip.MustParseAddr(host))
	}
	s.dns.Set(name, addrs...)
	if s.vip != nil {
		time.Sleep(proxyLag) // what is tested, not a synchronisation
		s.vip.set(t, backends)
	}
}

// shrink asks the youngest n pods to end, and returns once they have, cleanly.
func (s *service) shrink(t *testing.T, n int) {
	t.Helper()
	leaving := s.pods[len(s.pods)-n:]
	s.pods = s.pods[:len(s.pods)-n]
	for _, p := range leaving {
		p.Terminate()
	}
	s.tell(t)
	for _, p := range leaving {
		select {
		case <-p.Done():
			if code := p.ExitCode(); code != 0 {
				t.Errorf("%s exited with %d", p.Spec.Name, code)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s does not end", p.Spec.Name)
		}
	}
}

// stop ends everything.
func (s *service) stop() {
	for _, p := range s.pods {
		p.Terminate()
	}
	for _, p := range s.pods {
		p.Stop(time.Minute)
	}
	s.pods = nil
}

// dump shows how things are, for the report of a failed test.
func (s *service) dump(t *testing.T) {
	t.Helper()
	for _, p := range s.pods {
		st, err := p.Status(context.Background())
		if err != nil {
			t.Log(err)
			continue
		}
		t.Logf("%s: %d connections, %d draining, GOAWAYs %v, %s: %s", st.Pod, st.Connections, st.Draining, st.GoAways, st.Verdict, st.Why)
		for _, c := range st.Conditions {
			t.Logf("  condition %s: %s", c.Code, c.Text)
		}
		for _, d := range st.Decisions {
			t.Logf("  %s %s %d: %s", d.At.Format("15:04:05.000"), d.Action, d.Count, d.Why)
		}
	}
}

// look is the statuses of all pods at about one moment.
func (s *service) look(t *testing.T) []rebalance.Status {
	t.Helper()
	all := make([]rebalance.Status, len(s.pods))
	for i, p := range s.pods {
		st, err := p.Status(context.Background())
		for range 30 { // a busy machine is no fault of the pod's
			if err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
			st, err = p.Status(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		all[i] = st
	}
	return all
}

// goAways sums those of reasons over the pods that serve now.
func goAways(all []rebalance.Status, reasons ...string) int {
	n := 0
	for i := range all {
		for _, reason := range reasons {
			n += int(all[i].GoAways[reason])
		}
	}
	return n
}

// moved are the GOAWAYs that rebalancing costs.
func moved(all []rebalance.Status) int { return goAways(all, "reach", "even") }

func hasCondition(st *rebalance.Status, code string) bool {
	for _, c := range st.Conditions {
		if c.Code == code {
			return true
		}
	}
	return false
}

// poll is how often a state is looked at that is waited for.
const poll = 250 * time.Millisecond

// eventually waits for a state, not for a time: it gives up only after a time far
// beyond any that is needed.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("gave up after %v: %s", limit, what)
		}
	}
}

// always fails as soon as ok does not hold within the time.
func always(t *testing.T, span time.Duration, ok func()) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for end := time.Now().Add(span); time.Now().Before(end) && !t.Failed(); <-tick.C {
		ok()
	}
}
