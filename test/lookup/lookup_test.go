package lookup

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

	mdns "github.com/miekg/dns"

	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/peers/dns"
)

const name = "hello.test."

// zone is a DNS server whose records can change while it runs.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]string // by owner, as in a zone file
	code    int                 // the response code of all answers, if not 0
}

// serve starts a zone on loopback, UDP and TCP.
func serve(t *testing.T) *zone {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Skip("the UDP port is in use:", err)
	}
	z := &zone{addr: tcp.Addr().String(), records: make(map[string][]string)}
	for _, s := range []*mdns.Server{{Listener: tcp, Handler: z}, {PacketConn: udp, Handler: z}} {
		started, done := make(chan struct{}), make(chan error)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-done
		})
	}
	return z
}

// ServeDNS answers like an authoritative server, CNAMEs included.
func (z *zone) ServeDNS(w mdns.ResponseWriter, q *mdns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(mdns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	m.Rcode = z.code
	if z.code == 0 && !z.fill(m, q.Question[0].Name, q.Question[0].Qtype) {
		m.Rcode = mdns.RcodeNameError
	}
	size := mdns.MaxMsgSize
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size = mdns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
	}
	m.Truncate(size)
	_ = w.WriteMsg(m)
}

// fill adds the answers for a name and reports whether the name exists.
func (z *zone) fill(m *mdns.Msg, owner string, qtype uint16) bool {
	records, exists := z.records[strings.ToLower(owner)]
	for _, rec := range records {
		rr, err := mdns.NewRR(owner + " 5 IN " + rec)
		if err != nil {
			panic(err)
		}
		if alias, ok := rr.(*mdns.CNAME); ok {
			m.Answer = append(m.Answer, rr)
			z.fill(m, alias.Target, qtype)
		} else if rr.Header().Rrtype == qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	return exists
}

func (z *zone) set(owner string, records ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[owner] = records
}

func (z *zone) fail(code int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.code = code
}

func pods(n int) (records []string, addrs []netip.Addr) {
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		records, addrs = append(records, "A "+a.String()), append(addrs, a)
	}
	return records, addrs
}

func TestLookups(t *testing.T) {
	z := serve(t)
	r, err := lookup.New(z.addr)
	if err != nil {
		t.Fatal(err)
	}
	many, manyAddrs := pods(1000) // does not fit into UDP
	z.set(name, "A 10.0.0.2", "A 10.0.0.1", "AAAA fd00::1")
	z.set("alias.test.", "CNAME "+name)
	z.set("many.test.", many...)
	z.set("empty.test.", `TXT "nothing else"`)
	one := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::1")}
	for host, want := range map[string][]netip.Addr{
		name: one, "HELLO.Test.": one, "alias.test.": one, "many.test.": manyAddrs, "empty.test.": nil, "nobody.test.": nil,
	} {
		for _, r := range []*lookup.Resolver{r, r.Strict()} {
			if got, err := r.Addrs(t.Context(), host); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: got %d addresses and error %v, want %d addresses", host, len(got), err, len(want))
			}
		}
	}
}

// A pod is added while DNS lags behind. Then DNS fails and recovers.
func TestGateFollowsTheDNS(t *testing.T) {
	z := serve(t)
	r, err := lookup.New(z.addr)
	if err != nil {
		t.Fatal(err)
	}
	g := lookup.NewGate(r, name)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); g.Run(ctx) }()
	defer func() { cancel(); <-done }()

	before, added := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	z.set(name, "A 10.0.0.1")
	g.Want([][]netip.Addr{{before}, {added, netip.MustParseAddr("fd00::2")}})
	s := await(t, g, func(s lookup.Status) bool { return slices.Equal(s.Missing, []netip.Addr{added}) })
	if s.Open {
		t.Fatal("the gate is open although DNS lacks the new pod")
	}
	z.set(name, "A 10.0.0.1", "AAAA fd00::2") // one address family is enough
	await(t, g, func(s lookup.Status) bool { return s.Open && s.FullInARow >= 3 })
	z.fail(mdns.RcodeServerFailure)
	s = await(t, g, func(s lookup.Status) bool { return !s.Open })
	if s.Err == nil || !strings.Contains(s.Err.Error(), z.addr) {
		t.Errorf("got the error %v, want one that names the server", s.Err)
	}
	z.fail(0)
	await(t, g, func(s lookup.Status) bool { return s.Open && s.Err == nil })
	z.set(name, "A 10.0.0.2")
	await(t, g, func(s lookup.Status) bool { return !s.Open && slices.Equal(s.Missing, []netip.Addr{before}) })
}

// await waits for a status. It relies on the gate's notifications.
func await(t *testing.T, g *lookup.Gate, ok func(lookup.Status) bool) lookup.Status {
	t.Helper()
	for {
		if s := g.Status(); ok(s) {
			return s
		}
		select {
		case <-g.Changed():
		case <-t.Context().Done():
			t.Fatal("the test ended")
		case <-time.After(30 * time.Second):
			t.Fatalf("timeout after 30 s, last status %+v", g.Status())
		}
	}
}

// source runs a source and returns a channel of its views.
func source(t *testing.T, opts dns.Options) <-chan peers.Membership {
	t.Helper()
	opts.Interval = dns.MinInterval
	s, err := dns.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	views := make(chan peers.Membership)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx, func(m peers.Membership) {
			select {
			case views <- m:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return views
}

// until waits for a view that is ok. Earlier views may come from a lookup that began before the
// latest change.
func until(t *testing.T, views <-chan peers.Membership, what string, ok func(peers.Membership) bool) {
	t.Helper()
	var last peers.Membership
	for range 50 {
		if last = <-views; ok(last) {
			return
		}
	}
	t.Fatalf("%s: not reported within 50 views, last view %+v", what, last)
}

// shape formats the addresses of all members.
func shape(m peers.Membership) string {
	var parts []string
	for _, one := range m.Members {
		parts = append(parts, fmt.Sprint(one.Addrs))
	}
	return strings.Join(parts, " ")
}

func TestSourceFollowsTheDNS(t *testing.T) {
	z := serve(t)
	views := source(t, dns.Options{Name: name, Server: z.addr})
	until(t, views, "no such name", func(m peers.Membership) bool {
		return m.Err != nil && strings.Contains(m.Err.Error(), "no addresses")
	})
	z.set(name, "A 10.0.0.1", "AAAA fd00::1")
	want := "[10.0.0.1] [fd00::1]"
	until(t, views, "two", func(m peers.Membership) bool { return m.Err == nil && shape(m) == want })
	until(t, views, "renewed", func(m peers.Membership) bool { return m.Err == nil && shape(m) == want })
	z.fail(mdns.RcodeRefused)
	until(t, views, "refused", func(m peers.Membership) bool {
		return m.Err != nil && strings.Contains(m.Err.Error(), z.addr) && len(m.Members) == 0
	})
	z.fail(0)
	records, addrs := pods(300)
	z.set(name, records...)
	until(t, views, "many", func(m peers.Membership) bool { return len(m.Members) == len(addrs) })
}

func TestSourceReadsSRV(t *testing.T) {
	z := serve(t)
	z.set("_grpc._tcp.hello.test.", "SRV 0 50 50051 pod-0.hello.test.", "SRV 0 50 50051 pod-1.hello.test.", "SRV 0 50 50051 gone.hello.test.")
	z.set("pod-0.hello.test.", "A 10.0.0.1", "AAAA fd00::1")
	z.set("pod-1.hello.test.", "A 10.0.0.2")
	views := source(t, dns.Options{Name: "_grpc._tcp.hello.test.", Server: z.addr})
	until(t, views, "SRV", func(m peers.Membership) bool {
		return m.Err == nil && shape(m) == "[10.0.0.1 fd00::1] [10.0.0.2]" && m.Members[0].Port == 0
	})
}
