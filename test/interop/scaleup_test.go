//go:build interop

package interop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

const (
	// scaleUpSeconds is how long the client of a scale-up calls: a growth while its resolver rests,
	// a while without any, and a growth after that.
	scaleUpSeconds = 250
	// older is by how much the first pods are older than the service's first growth. Pods that are
	// hardly older than the new ones count as alike, and a client may get a GOAWAY from both.
	older = 30 * time.Second
	// young is how long after its first answer a client has its first growth.
	young = 5 * time.Second
	// rests is how long resolvers of the gRPC libraries rest after an answer, and Java's cache keeps it.
	rests = 31 * time.Second
	// follows is how long a client may take to reach new pods: two rounds of GOAWAYs, and the rest of
	// its resolver.
	follows = 105 * time.Second
)

// follower is a client of the second mode: it resolves a name, and pods are added.
type follower struct {
	row
	// never is set if the client does not resolve again as long as it has a connection.
	never bool
	// again is set if it needs another GOAWAY where its answer is young at the first one.
	again bool
	// envoy is set if an Envoy resolves the name for the client.
	envoy bool
}

// followers are the clients that resolve a name themselves and use all of its addresses. Those of
// HTTP libraries have one connection, see ../singlehomed and ../web.
func followers() []follower {
	var (
		grpcGo = []string{built("golang"), "grpc-go"}
		python = []string{"/usr/bin/python3", "clients/python/client.py"}
		java   = []string{"java", "-cp", classpath(), "Client"}
	)
	all := []follower{
		{row: row{name: "grpc-go", argv: grpcGo}},
		{row: row{name: "grpc-go 1.64", argv: []string{built("grpcgo-1.64")}}},
		{row: row{name: "grpc-go 1.50", argv: []string{built("grpcgo-1.50")}}},
		{row: row{name: "grpc-js", argv: []string{"node", built("node", "grpcjs.js")}}},
		{row: row{name: "grpc-js 1.10", argv: grpcJS110()}, never: true},
		{row: row{name: "Python 1.51", argv: python}},
		{row: row{name: "Python 1.85", argv: venv("client.py")}},
		{row: row{name: "Python 1.85 aio", argv: venv("aio_client.py")}},
		{row: row{name: "Ruby", argv: []string{"/usr/bin/ruby", "clients/ruby/client.rb"}, failing: rubyChat, why: unstarted}},
		{row: row{name: "C++", argv: []string{built("cpp", "client")}, failing: cppStream, why: unstarted}},
		{row: row{name: "Java 1.41", argv: java}, again: true},
		{row: row{name: "Java 1.85", argv: java185()}, again: true},
		{row: row{name: "Envoy", argv: grpcGo}, envoy: true},
	}
	for i := range all {
		all[i].policy = roundRobin
	}
	return all
}

// followed is what a client did.
type followed struct {
	result
	young, rested growth
	left          int
}

// growth is what happened when pods were added.
type growth struct {
	pods    int
	even    time.Duration // from when DNS listed the new pods; 0: never
	goaways int
}

func (g growth) String() string {
	if g.even == 0 {
		return fmt.Sprintf("never | %d", g.goaways)
	}
	return fmt.Sprintf("%.1f | %d", g.even.Seconds(), g.goaways)
}

// TestScaleUp adds pods to a service twice and shows how each client follows: when it has just
// resolved the name, and when its resolver has rested.
func TestScaleUp(t *testing.T) {
	if os.Getenv("INTEROP_LONG") == "" {
		t.Skip("INTEROP_LONG is not set")
	}
	all := followers()
	got := make([]followed, len(all))
	t.Run("clients", func(t *testing.T) {
		for i := range all {
			t.Run(all[i].name, func(t *testing.T) {
				t.Parallel()
				got[i] = all[i].scaleUp(t, 1+i)
				all[i].checkScaleUp(t, got[i])
			})
		}
	})
	lines := "| client | version | calls | failed | s to even, young answer | GOAWAYs | s to even, rested | GOAWAYs | sockets left open |\n" + strings.Repeat("|---", 9) + "|\n"
	for i, f := range got {
		lines += fmt.Sprintf("| %s | %s | %d | %d | %v | %v | %d |\n", all[i].name, f.Version, f.Calls, f.Failed, f.young, f.rested, f.left)
	}
	fmt.Print(lines)
	if err := os.WriteFile(built("scaleup.md"), []byte(lines), 0o644); err != nil {
		t.Error(err)
	}
}

// scaleUp has a service of 2 pods become one of 3, and then one of 5.
func (f *follower) scaleUp(t *testing.T, network int) (got followed) {
	s := newScaled(t, network)
	s.grow(t, 2)
	wait(t, older)
	target, p := fmt.Sprintf("dns:///%s:%d", "hello.test", s.port), (*proxy)(nil)
	if f.envoy {
		p = envoyAt("ROUND_ROBIN", strconv.Itoa(s.port), netip.MustParseAddrPort(s.dns.Addrs()[0]), false)(t, &server{})
		target = p.addr
	}
	c := s.client(t, f.argv, []string{target, f.policy, strconv.Itoa(scaleUpSeconds)})
	if !eventually(t, 40*time.Second, "the client has not reached both pods", s.even(t)) {
		t.FailNow()
	}
	wait(t, young)
	got.young = s.follow(t, 3)
	s.untilRested(t)
	got.young.goaways = s.goaways(t)
	got.rested = s.follow(t, 5)
	got.result = c.result(t, scaleUpSeconds*time.Second)
	got.rested.goaways = s.goaways(t) - got.young.goaways
	got.left = s.leftOpen(t)
	c.end(t)
	if p != nil {
		p.stop(t)
		got.Version = p.version
	}
	s.stop(t)
	return got
}

func (f *follower) checkScaleUp(t *testing.T, got followed) {
	if got.Failed > 0 && f.failing == "" {
		t.Errorf("%d of %d calls failed: %v", got.Failed, got.Calls, got.Errors)
	}
	for _, g := range []growth{got.young, got.rested} {
		if reached := g.even > 0; reached == f.never {
			t.Errorf("to %d pods: reached all of them: %v, want %v", g.pods, reached, !f.never)
		}
	}
	if got.rested.goaways != 1 && !f.never {
		t.Errorf("got %d GOAWAYs for a client whose resolver had rested, want 1", got.rested.goaways)
	}
	if got.young.goaways > 1 && !f.again && !f.never {
		t.Errorf("got %d GOAWAYs for a client with a young answer, want 1", got.young.goaways)
	}
	if got.left > 0 {
		t.Errorf("got %d open sockets besides the connections in use, want none", got.left)
	}
}

// scaled is a service whose pods are processes with addresses of their own, and one port.
type scaled struct {
	network, port, http int
	dns                 *fleet.DNS
	resolv              string // the clients' resolv.conf
	pods                []*server
}

// newScaled starts the DNS server. Clients ask it on another address than the pods.
func newScaled(t *testing.T, network int) *scaled {
	t.Helper()
	s := &scaled{network: network}
	for i, port := range []*int{&s.port, &s.http} {
		var hold interface{ Close() error }
		var err error
		if *port, hold, err = fleet.HoldPort(nil, s.host(254), 26300+100*i, s.port); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hold.Close() })
	}
	var err error
	if s.dns, err = fleet.ListenDNS(0, net.JoinHostPort(s.host(250), "53"), net.JoinHostPort(s.host(251), "0")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.dns.Close)
	s.resolv = filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(s.resolv, []byte("nameserver "+s.host(250)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scaled) host(n int) string { return fmt.Sprintf("127.44.%d.%d", s.network, n) }

// grow starts pods until there are n, and returns when DNS lists them.
func (s *scaled) grow(t *testing.T, n int) time.Time {
	t.Helper()
	addrs := make([]netip.Addr, n)
	for i := range n {
		host := s.host(1 + i)
		addrs[i] = netip.MustParseAddr(host)
		if i < len(s.pods) {
			continue
		}
		p := &server{process: start(t, []string{
			built("server"), "-addrs", net.JoinHostPort(host, strconv.Itoa(s.port)), "-http-port", strconv.Itoa(s.http),
			"-dns", s.dns.Addrs()[1], "-work", "100ms", "-chat-pace", "100ms",
		}, nil)}
		s.pods = append(s.pods, p)
	}
	for _, p := range s.pods {
		if p.GRPC == nil {
			decodeLine(t, p.line(t, 30*time.Second), p)
		}
	}
	s.dns.Set("hello.test", addrs...)
	return time.Now()
}

// client starts a client whose resolv.conf names the DNS server, as the kubelet writes it.
func (s *scaled) client(t *testing.T, argv, args []string) *client {
	own := []string{"unshare", "--mount", "--", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, s.resolv}
	return startClient(t, append(own, argv...), args, nil)
}

// even returns whether each pod has a connection.
func (s *scaled) even(t *testing.T) func() bool {
	return func() bool {
		for _, p := range s.pods {
			if p.sum(t, func(st status) int { return st.Connections - st.Draining }) == 0 {
				return false
			}
		}
		return true
	}
}

// follow adds pods, and waits until the client has reached them or does not come.
func (s *scaled) follow(t *testing.T, n int) growth {
	t.Helper()
	g, from := growth{pods: n}, s.grow(t, n)
	limit := time.NewTimer(follows)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for even := s.even(t); ; {
		if even() {
			g.even = time.Since(from)
			return g
		}
		select {
		case <-limit.C:
			return g
		case <-tick.C:
		}
	}
}

// untilRested waits until the client's resolver has rested and Java's cache is empty.
func (s *scaled) untilRested(t *testing.T) {
	t.Helper()
	for range 3 { // it may resolve once more meanwhile
		wait(t, rests-time.Since(s.dns.Last(s.dns.Addrs()[0], "hello.test")))
	}
}

// goaways is how many connections the pods have drained.
func (s *scaled) goaways(t *testing.T) (n int) {
	t.Helper()
	for _, p := range s.pods {
		for _, st := range p.statuses(t) {
			for _, of := range st.GoAways {
				n += of
			}
		}
	}
	return n
}

// leftOpen is how many sockets are open besides the connections in use.
func (s *scaled) leftOpen(t *testing.T) (open int) {
	t.Helper()
	for _, p := range s.pods {
		open += p.leftOpen(t, 0)
	}
	return open
}

func (s *scaled) stop(t *testing.T) {
	t.Helper()
	for _, p := range s.pods {
		p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range s.pods {
		p.exit(t)
	}
}

// wait is for time that must pass: what is tested are the caches of real clients.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
