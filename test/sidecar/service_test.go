package sidecar

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// name is the name by which pods find each other, and which clients resolve.
const name = "hello.test"

// pod is a server with a sidecar before it, both at an address of the pod's own.
type pod struct {
	*fleet.Server // the sidecar

	server *fleet.Proc
}

// service is a set of pods with a DNS server. Each test has a network number of its own.
type service struct {
	net            int
	server         []string // starts a server; its address and the name of the pod are appended
	args           []string // further flags of the sidecars
	dns            *fleet.DNS
	grpc, http, up int

	pods []*pod
}

func newService(t *testing.T, network int, server []string, args ...string) *service {
	t.Helper()
	s := &service{net: network, server: server, args: args}
	var taken []int
	for _, port := range []*int{&s.grpc, &s.http, &s.up} {
		got, hold, err := fleet.HoldPort(nil, s.host(254), 23900, taken...)
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
	t.Cleanup(func() {
		for _, p := range s.pods {
			p.Kill()
			p.server.Kill()
			<-p.Done()
			<-p.server.Done()
		}
	})
	t.Cleanup(func() { t.Logf("at the end:%s", s.decisions()) })
	return s
}

func (s *service) host(n int) string { return fmt.Sprintf("127.44.%d.%d", s.net, n) }

// target is what clients resolve.
func (s *service) target() string {
	return fmt.Sprintf("dns://%s/%s:%d", s.dns.Addrs()[0], name, s.grpc)
}

// grow starts n pods and adds them to DNS when all are ready.
func (s *service) grow(t *testing.T, n int) {
	t.Helper()
	var begun []*pod
	for range n {
		p := s.start(t, len(s.pods)+1)
		s.pods, begun = append(s.pods, p), append(begun, p)
	}
	for _, p := range begun {
		eventually(t, 60*time.Second, p.Spec.Name+" is not ready", func() bool { return ready(p) })
	}
	s.publish()
}

// start starts the sidecar before the server, as the kubelet starts native sidecars.
func (s *service) start(t *testing.T, n int) *pod {
	t.Helper()
	p := &pod{Server: &fleet.Server{Spec: fleet.ServerSpec{Name: fmt.Sprintf("pod-%d", n), Host: s.host(n), GRPCPort: s.grpc, HTTPPort: s.http}}}
	upstream := fmt.Sprintf("%s:%d", s.host(n), s.up)
	argv := append([]string{
		sidecarProgram, "-listen", p.GRPC(), "-http", p.HTTP(), "-upstream", upstream, "-name", p.Spec.Name,
		"-set", "peers.source=dns", "-set", "peers.dns.name=" + name + ".", "-set", "peers.dns.server=" + s.dns.Addrs()[0],
		"-set", "clients.dns.name=" + name + ".", "-set", "clients.dns.server=" + s.dns.Addrs()[0],
	}, s.args...)
	var err error
	if p.Proc, err = fleet.Start(argv, nil, nil, s.log(t, p.Spec.Name+" sidecar")); err != nil {
		t.Fatal(err)
	}
	if p.server, err = fleet.Start(slices.Concat(s.server, []string{upstream, p.Spec.Name}), nil, nil, s.log(t, p.Spec.Name+" server")); err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *service) log(t *testing.T, who string) func(string) {
	if !*logs {
		return nil
	}
	return func(line string) { t.Logf("%s: %s", who, line) }
}

// stopLast stops the last pod as Kubernetes does: the pod leaves DNS, the preStop hook of the
// sidecar drains, the server ends, and the sidecar ends after it. It returns how long the drain
// took.
func (s *service) stopLast(t *testing.T) time.Duration {
	t.Helper()
	p := s.pods[len(s.pods)-1]
	s.pods = s.pods[:len(s.pods)-1]
	s.publish()
	begun := time.Now()
	if out, err := exec.Command(sidecarProgram, "-drain", "-listen", p.GRPC()).CombinedOutput(); err != nil {
		t.Errorf("-drain: %v: %s", err, out)
	}
	took := time.Since(begun)
	if p.Exited() {
		t.Error("the sidecar has ended before the server")
	}
	for _, proc := range []*fleet.Proc{p.server, p.Proc} {
		proc.Terminate()
		select {
		case <-proc.Done():
		case <-time.After(20 * time.Second):
			t.Error("a process has not ended within 20 s of SIGTERM")
			proc.Kill()
		}
	}
	if code := p.ExitCode(); code != 0 {
		t.Errorf("the sidecar has ended with status %d, want 0", code)
	}
	return took
}

// publish updates DNS.
func (s *service) publish() {
	var addrs []netip.Addr
	for _, p := range s.pods {
		addrs = append(addrs, netip.MustParseAddr(p.Spec.Host))
	}
	s.dns.Set(name, addrs...)
}

// goAways adds up the GOAWAYs of all pods, for one reason or for any ("").
func (s *service) goAways(t *testing.T, reason string) (n int) {
	t.Helper()
	for _, p := range s.pods {
		st, err := p.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for why, count := range st.GoAways {
			if reason == "" || why == reason {
				n += int(count)
			}
		}
	}
	return n
}

// joined reports whether each pod has had its first view of the service.
func (s *service) joined(t *testing.T) bool {
	t.Helper()
	for _, p := range s.pods {
		st, err := p.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(st.Decisions, func(d rebalance.Decision) bool { return d.Action == "joined" }) {
			return false
		}
	}
	return true
}

// decisions formats what the pods have decided, for a person.
func (s *service) decisions() string {
	var b strings.Builder
	for _, p := range s.pods {
		st, err := p.Status(context.Background())
		if err != nil {
			fmt.Fprintf(&b, "\n%s: %v", p.Spec.Name, err)
			continue
		}
		fmt.Fprintf(&b, "\n%s: %d connections, %d draining, GOAWAYs %v, closed %v, %s: %s", st.Pod, st.Connections, st.Draining, st.GoAways, st.Closed, st.Verdict, st.Why)
		for _, c := range st.Conditions {
			fmt.Fprintf(&b, "\n  condition %s: %s", c.Code, c.Text)
		}
		for _, d := range slices.Backward(st.Decisions) {
			fmt.Fprintf(&b, "\n  %s %s %d: %s", d.At.Format("15:04:05.000"), d.Action, d.Count, d.Why)
		}
	}
	return b.String()
}

func ready(p *pod) bool {
	resp, err := http.Get("http://" + p.HTTP() + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// within waits until ok is true, and reports whether that was within the limit.
func within(limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(100 * time.Millisecond)
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

// python, node and java return how to start an ordinary server. Their tests are skipped where
// run.sh has not installed gRPC for them.
func python(t *testing.T) []string {
	t.Helper()
	for _, program := range []string{".tmp/venv/bin/python", "python3"} {
		if exec.Command(program, "-c", "import grpc").Run() == nil {
			return []string{program, "servers/server.py"}
		}
	}
	t.Skip("no Python has grpcio: run.sh installs it")
	return nil
}

func node(t *testing.T) []string {
	t.Helper()
	return built(t, ".tmp/node/node_modules/@grpc/grpc-js/package.json", "node", ".tmp/node/server.js")
}

func java(t *testing.T) []string {
	t.Helper()
	return built(t, ".tmp/java/HelloServer.class", "java", "-Xmx64m", "-cp", "/usr/share/java/*:.tmp/java", "HelloServer")
}

func built(t *testing.T, file string, argv ...string) []string {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		t.Skipf("%s is missing: run.sh makes it", file)
	}
	return argv
}
