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

// name is the name that pods and round_robin clients resolve.
const name = "hello.test"

// proxyLag is how much later than the pods the balancer learns of a change, as with kube-proxy.
const proxyLag = 500 * time.Millisecond

// clusterIP is the balancer between single-homed clients and pods. It picks a random pod for
// each new connection.
type clusterIP interface {
	// front returns the address that client i connects to, and its source address; empty: any.
	front(i int) (addr, source string)
	// set replaces the pods ("host:port").
	set(t *testing.T, pods []string)
}

// place has the addresses of a service. Each test has its own.
type place struct {
	pod        func(n int) string // n counts from 1
	dns, guard string
}

// loopback returns the addresses of network number net, which one test uses alone.
func loopback(net int) place {
	return place{
		pod:   func(n int) string { return fmt.Sprintf("127.21.%d.%d", net, n) },
		dns:   fmt.Sprintf("127.21.%d.250", net),
		guard: fmt.Sprintf("127.21.%d.254", net),
	}
}

// most is how many pods a service may have.
const most = 8

// service is a set of pods with their DNS and their ClusterIP.
type service struct {
	place

	dns   *fleet.DNS
	ports struct{ grpc, http int }
	// flags returns additional flags for pod n.
	flags func(n int) []string
	vip   clusterIP
	extra []string // addresses in DNS beside the pods

	pods []*fleet.Server // the pods that serve
	last int             // the highest number of a pod so far
}

func newService(t *testing.T, at place) *service {
	t.Helper()
	s := &service{place: at, flags: func(int) []string { return nil }}
	// No other test uses these addresses, so a port held at guard is free on all of them.
	// Probing each address would fail at times. A port that is probed and closed can stay
	// taken for a moment, since a process that is just being started inherits it.
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

// grow starts n pods at the same time. Rollouts, where pods become ready one after the other,
// are tested elsewhere.
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
	s.publish(t)
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
			"-set", "peers.source=dns", "-set", "peers.dns.interval=1s", "-set", "peers.dns.name=" + name + ".", "-set", "peers.dns.server=" + s.dns.Addrs()[0],
		}, s.flags(n)...),
	})
}

// publish updates DNS at once and the balancer proxyLag later.
func (s *service) publish(t *testing.T) {
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
		time.Sleep(proxyLag) // this lag is under test; it synchronizes nothing
		s.vip.set(t, backends)
	}
}

// shrink terminates the youngest n pods and waits for their clean exit.
func (s *service) shrink(t *testing.T, n int) {
	t.Helper()
	stopped := s.pods[len(s.pods)-n:]
	s.pods = s.pods[:len(s.pods)-n]
	for _, p := range stopped {
		p.Terminate()
	}
	s.publish(t)
	for _, p := range stopped {
		select {
		case <-p.Done():
			if code := p.ExitCode(); code != 0 {
				t.Errorf("%s exited with status %d, want 0", p.Spec.Name, code)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s did not exit within a minute", p.Spec.Name)
		}
	}
}

// stop terminates all pods.
func (s *service) stop() {
	for _, p := range s.pods {
		p.Terminate()
	}
	for _, p := range s.pods {
		p.Stop(time.Minute)
	}
	s.pods = nil
}

// dump logs the state of all pods of a failed test.
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

// statuses returns the status of every pod.
func (s *service) statuses(t *testing.T) []rebalance.Status {
	t.Helper()
	all := make([]rebalance.Status, len(s.pods))
	for i, p := range s.pods {
		st, err := p.Status(context.Background())
		for range 30 { // the machine may be busy
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

// goAways sums the GOAWAYs of the given reasons.
func goAways(all []rebalance.Status, reasons ...string) int {
	n := 0
	for i := range all {
		for _, reason := range reasons {
			n += int(all[i].GoAways[reason])
		}
	}
	return n
}

// rebalanced counts the GOAWAYs that rebalancing sent.
func rebalanced(all []rebalance.Status) int { return goAways(all, "reach", "even") }

func hasCondition(st *rebalance.Status, code string) bool {
	for _, c := range st.Conditions {
		if c.Code == code {
			return true
		}
	}
	return false
}

// poll is how often a condition is checked.
const poll = 250 * time.Millisecond

// eventually waits until ok is true. limit must be far longer than needed, so that it only ends
// a test that has failed. what describes the
// failure.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("timeout after %v: %s", limit, what)
		}
	}
}

// always calls check for the whole span, or until the test has failed.
func always(t *testing.T, span time.Duration, check func()) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for end := time.Now().Add(span); time.Now().Before(end) && !t.Failed(); <-tick.C {
		check()
	}
}
