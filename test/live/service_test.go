package live

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// name is the name by which pods find each other, and which clients resolve.
const name = "hello.test"

// service is a set of pods with a DNS server. Each test has a network number of its own.
type service struct {
	net        int
	binary     string
	args       []string
	dns        *fleet.DNS
	grpc, http int
	changed    func(pods []string) // is called with the listed pods; may be nil

	pods []*fleet.Server // those that live
	out  map[string]bool // those of them that DNS does not list

	liars []netip.Addr // pods that are no processes of this service
}

func newService(t *testing.T, network int, binary string, args ...string) *service {
	t.Helper()
	s := &service{net: network, binary: binary, args: args, out: map[string]bool{}}
	var taken []int
	for _, port := range []*int{&s.grpc, &s.http} {
		got, hold, err := fleet.HoldPort(nil, s.host(254), 21900, taken...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hold.Close() })
		*port, taken = got, append(taken, got)
	}
	d, err := fleet.ListenDNS(0, net.JoinHostPort(s.host(250), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s.dns = d
	t.Cleanup(s.stop)
	t.Cleanup(func() { t.Logf("at the end:%s", s.decisions(t)) })
	return s
}

func (s *service) host(n int) string { return fmt.Sprintf("127.42.%d.%d", s.net, n) }

// target is what clients resolve.
func (s *service) target() string {
	return fmt.Sprintf("dns://%s/%s:%d", s.dns.Addrs()[0], name, s.grpc)
}

// grow starts n pods together.
func (s *service) grow(t *testing.T, n int) {
	t.Helper()
	started, errs := make([]*fleet.Server, n), make([]error, n)
	first := len(s.pods) + 1
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { started[i], errs[i] = s.start(t, first+i) })
	}
	wg.Wait()
	for i, p := range started {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		s.pods = append(s.pods, p)
	}
	s.publish()
}

func (s *service) start(t *testing.T, n int) (*fleet.Server, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var log func(string)
	if *serverLog {
		log = func(line string) { t.Logf("pod-%d: %s", n, line) }
	}
	return fleet.StartServer(ctx, fleet.ServerSpec{
		Command: []string{s.binary}, Name: podName(n), Host: s.host(n), GRPCPort: s.grpc, HTTPPort: s.http, Log: log,
		Args: append([]string{
			"-set", "peers.source=dns", "-set", "peers.dns.interval=1s", "-set", "peers.dns.name=" + name + ".", "-set", "peers.dns.server=" + s.dns.Addrs()[0],
			"-set", "clients.dns.name=" + name + ".", "-set", "clients.dns.server=" + s.dns.Addrs()[0],
		}, s.args...),
	})
}

func podName(n int) string { return fmt.Sprintf("pod-%d", n) }

// publish updates DNS.
func (s *service) publish() {
	var addrs []netip.Addr
	var pods []string
	addrs = append(addrs, s.liars...)
	for _, p := range s.pods {
		if !s.out[p.Spec.Name] {
			addrs, pods = append(addrs, netip.MustParseAddr(p.Spec.Host)), append(pods, p.GRPC())
		}
	}
	s.dns.Set(name, addrs...)
	if s.changed != nil {
		s.changed(pods)
	}
}

// takeOut takes living pods out of the Service.
func (s *service) takeOut(pods ...string) {
	for _, pod := range pods {
		s.out[pod] = true
	}
	s.publish()
}

// remove forgets a pod that has ended.
func (s *service) remove(p *fleet.Server) {
	s.pods = slices.DeleteFunc(s.pods, func(one *fleet.Server) bool { return one == p })
	s.publish()
}

func (s *service) pod(name string) *fleet.Server {
	i := slices.IndexFunc(s.pods, func(p *fleet.Server) bool { return p.Spec.Name == name })
	return s.pods[i]
}

func (s *service) stop() {
	for _, p := range s.pods {
		p.Terminate()
	}
	for _, p := range s.pods {
		p.Stop(time.Minute)
	}
}

// status returns the status of a pod, which may be slow on a busy machine.
func status(t *testing.T, p *fleet.Server) (st rebalance.Status) {
	t.Helper()
	var err error
	for range 10 {
		if st, err = p.Status(context.Background()); err == nil {
			return st
		}
	}
	t.Fatal(err)
	return st
}

func (s *service) statuses(t *testing.T) (all []rebalance.Status) {
	t.Helper()
	for _, p := range s.pods {
		all = append(all, status(t, p))
	}
	return all
}

// goAways adds up all GOAWAYs of the given pods, of all pods if none is given.
func (s *service) goAways(t *testing.T, pods ...string) (n int) {
	t.Helper()
	for _, st := range s.statuses(t) {
		for _, count := range st.GoAways {
			if len(pods) == 0 || slices.Contains(pods, st.Pod) {
				n += int(count)
			}
		}
	}
	return n
}

// decisions formats what the pods have decided, for a person.
func (s *service) decisions(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, p := range s.pods {
		st, err := p.Status(context.Background())
		if err != nil {
			fmt.Fprintf(&b, "\n%s: %v", p.Spec.Name, err)
			continue
		}
		fmt.Fprintf(&b, "\n%s: %d connections, %d draining, GOAWAYs %v, %s: %s", st.Pod, st.Connections, st.Draining, st.GoAways, st.Verdict, st.Why)
		for _, c := range st.Conditions {
			fmt.Fprintf(&b, "\n  condition %s: %s", c.Code, c.Text)
		}
		for _, d := range slices.Backward(st.Decisions) {
			fmt.Fprintf(&b, "\n  %s %s %d: %s", d.At.Format("15:04:05.000"), d.Action, d.Count, d.Why)
		}
	}
	return b.String()
}

// settle waits until no pod has drained a connection for some seconds, and returns their number
// so far.
func (s *service) settle(t *testing.T) (goAways int) {
	t.Helper()
	goAways, since := s.goAways(t), time.Now()
	eventually(t, 90*time.Second, "the pods have not settled", func() bool {
		if n := s.goAways(t); n != goAways {
			goAways, since = n, time.Now()
		}
		return time.Since(since) > 8*time.Second
	})
	return goAways
}

func condition(st *rebalance.Status, codes ...string) bool {
	return slices.ContainsFunc(st.Conditions, func(c rebalance.Condition) bool { return slices.Contains(codes, c.Code) })
}

const poll = 250 * time.Millisecond

// within waits until ok is true, and reports whether that was within the limit.
func within(limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// eventually is within for what must be. what describes the failure.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if !within(limit, ok) {
		t.Fatalf("timeout after %v: %s", limit, what)
	}
}

// during calls check for the whole span.
func during(span time.Duration, check func()) {
	within(span, func() bool { check(); return false })
}
