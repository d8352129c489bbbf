package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addrs(texts ...string) []netip.Addr {
	list := make([]netip.Addr, len(texts))
	for i, s := range texts {
		list[i] = netip.MustParseAddr(s)
	}
	return list
}

// resolver returns a Resolver whose server gives this answer to all queries.
func resolver(t *testing.T, answer func(dnsmessage.Question) reply) (*Resolver, *server) {
	t.Helper()
	s := serve(t, answer)
	r, err := New(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func always(r reply) func(dnsmessage.Question) reply {
	return func(dnsmessage.Question) reply { return r }
}

func TestAddrsAreSortedUniqueAndOfBothFamilies(t *testing.T) {
	r, _ := resolver(t, always(reply{addrs: addrs("10.0.0.9", "fd00::1", "10.0.0.10", "10.0.0.9", "::ffff:10.0.0.1")}))
	got, err := r.Addrs(t.Context(), "hello.test.")
	if err != nil {
		t.Fatal(err)
	}
	want := addrs("10.0.0.1", "10.0.0.9", "10.0.0.10", "fd00::1")
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNoSuchNameIsAnEmptyAnswer(t *testing.T) {
	for _, code := range []dnsmessage.RCode{dnsmessage.RCodeNameError, dnsmessage.RCodeSuccess} {
		r, s := resolver(t, always(reply{code: code}))
		for _, r := range []*Resolver{r, r.Strict()} {
			got, err := r.Addrs(t.Context(), "hello.test.")
			if err != nil || len(got) != 0 {
				t.Errorf("%v: got %v, %v, want an empty answer", code, got, err)
			}
			targets, err := r.SRV(t.Context(), "_grpc._tcp.hello.test.")
			if err != nil || len(targets) != 0 {
				t.Errorf("%v: got %v, %v, want no target", code, targets, err)
			}
		}
		if n, _ := s.queryCounts(); n == 0 {
			t.Error("the server got no query")
		}
	}
}

func TestFailuresNameServerAndName(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := closed.LocalAddr().String()
	closed.Close()
	for name, server := range map[string]string{
		"SERVFAIL": serve(t, always(reply{code: dnsmessage.RCodeServerFailure})).addr,
		"REFUSED":  serve(t, always(reply{code: dnsmessage.RCodeRefused})).addr,
		"silent":   serve(t, always(reply{drop: true})).addr,
		"closed":   refusing,
	} {
		t.Run(name, func(t *testing.T) {
			r, err := New(server)
			if err != nil {
				t.Fatal(err)
			}
			if name == "silent" {
				r.Timeout = 300 * time.Millisecond
			}
			_, errAddrs := r.Addrs(t.Context(), "hello.test.")
			_, errSRV := r.SRV(t.Context(), "_grpc._tcp.hello.test.")
			for _, err := range []error{errAddrs, errSRV} {
				checkFailure(t, err, server, name == "silent")
			}
		})
	}
}

func checkFailure(t *testing.T, err error, server string, timeout bool) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Server != server || !strings.Contains(e.Error(), server) || !strings.Contains(e.Error(), "hello.test.") {
		t.Errorf("%q does not name both the server %s and the name", e, server)
	}
	if strings.Contains(e.Error(), "->") {
		t.Errorf("%q has the port of a socket, so the text differs each time", e)
	}
	if e.Timeout() != timeout {
		t.Errorf("%q: Timeout() is %v, want %v", e, e.Timeout(), timeout)
	}
}

// Clients accept an answer for one family alone; a source of peers must not.
func TestStrictFailsIfAnyPartFailed(t *testing.T) {
	r, _ := resolver(t, func(q dnsmessage.Question) reply {
		if q.Type == dnsmessage.TypeAAAA {
			return reply{code: dnsmessage.RCodeServerFailure}
		}
		return reply{addrs: addrs("10.0.0.1")}
	})
	if got, err := r.Addrs(t.Context(), "hello.test."); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v, want the A record, as clients get it", got, err)
	}
	if got, err := r.Strict().Addrs(t.Context(), "hello.test."); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

// A lost packet must not use up the time of the lookup.
func TestALostPacketIsSentAgain(t *testing.T) {
	seen := make(map[dnsmessage.Type]bool) // one goroutine serves UDP
	r, s := resolver(t, func(q dnsmessage.Question) reply {
		first := !seen[q.Type]
		seen[q.Type] = true
		return reply{drop: first, addrs: addrs("10.0.0.1", "fd00::1")}
	})
	t.Parallel()
	// The first packet gets a third of the timeout; Go itself would wait for 5 s.
	r.Timeout = 4500 * time.Millisecond
	got, err := r.Addrs(t.Context(), "hello.test.")
	if err != nil || len(got) != 2 {
		t.Errorf("got %v, %v, want two addresses", got, err)
	}
	if n, _ := s.queryCounts(); n < 4 {
		t.Errorf("%d queries, want at least 4, as two were lost", n)
	}
}

func TestLargeAnswersComeOverTCP(t *testing.T) {
	var many []netip.Addr
	for i := range 2000 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	r, s := resolver(t, always(reply{addrs: many}))
	got, err := r.Addrs(t.Context(), "hello.test.")
	if err != nil || !slices.Equal(got, many) {
		t.Errorf("got %d addresses, %v, want %d", len(got), err, len(many))
	}
	if _, tcp := s.queryCounts(); tcp == 0 {
		t.Error("no query came over TCP")
	}
}

// A canceled lookup must end at once: Go's resolver would go on reading for 5 s.
func TestContextEndsALookup(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the server has stopped
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := resolver(t, func(dnsmessage.Question) reply {
		cancel() // the lookup waits for this answer
		return reply{drop: true}
	})
	r.Timeout = time.Hour
	_, errAddrs := r.Addrs(ctx, "hello.test.")
	_, errSRV := r.SRV(ctx, "_grpc._tcp.hello.test.")
	for _, err := range []error{errAddrs, errSRV} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	}
}

func TestLiteralsAreTheirOwnAnswer(t *testing.T) {
	r := &Resolver{server: "127.0.0.1:1"}
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "fd00::1": "fd00::1", "::ffff:10.0.0.1": "10.0.0.1", "fe80::1%lo": "fe80::1%lo",
	} {
		got, err := r.Addrs(t.Context(), in)
		if err != nil || !slices.Equal(got, addrs(want)) {
			t.Errorf("%s: got %v, %v, want %s", in, got, err, want)
		}
	}
}

// Go's resolver would report that these names do not exist, which is an empty answer.
func TestAnInvalidNameIsAnError(t *testing.T) {
	r := &Resolver{server: "127.0.0.1:1"}
	for _, name := range []string{
		"", ".", "a..b", ".a", "a b", "a/b", "ä.test", strings.Repeat("x", 64) + ".test",
		strings.Repeat("x.", 130), "a:1", "10.0.0.1:80",
	} {
		if got, err := r.Addrs(t.Context(), name); err == nil {
			t.Errorf("%q: got %v, want an error", name, got)
		}
		if got, err := r.SRV(t.Context(), name); err == nil {
			t.Errorf("%q: got %v, want an error", name, got)
		}
	}
}

func srv(host string, port uint16) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Target: dnsmessage.MustNewName(host), Port: port}
}

func TestSRVTargetsHaveTheirAddresses(t *testing.T) {
	hosts := map[string][]netip.Addr{
		"b.hello.test.": addrs("10.0.0.2", "fd00::2"),
		"a.hello.test.": addrs("10.0.0.1"),
	}
	r, _ := resolver(t, func(q dnsmessage.Question) reply {
		if q.Type == dnsmessage.TypeSRV {
			return reply{srv: []dnsmessage.SRVResource{
				srv("b.hello.test.", 50051), srv("gone.hello.test.", 50051), srv("a.hello.test.", 50051), srv(".", 0),
			}}
		}
		list, ok := hosts[q.Name.String()]
		if !ok {
			return reply{code: dnsmessage.RCodeNameError}
		}
		return reply{addrs: list}
	})
	got, err := r.SRV(t.Context(), "_grpc._tcp.hello.test.")
	if err != nil {
		t.Fatal(err)
	}
	want := []Target{
		{"a.hello.test", 50051, hosts["a.hello.test."]},
		{"b.hello.test", 50051, hosts["b.hello.test."]},
		{"gone.hello.test", 50051, nil},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSRVFailsIfOneTargetCannotBeResolved(t *testing.T) {
	r, _ := resolver(t, func(q dnsmessage.Question) reply {
		switch {
		case q.Type == dnsmessage.TypeSRV:
			return reply{srv: []dnsmessage.SRVResource{srv("a.test.", 1), srv("b.test.", 1)}}
		case q.Name.String() == "b.test.":
			return reply{code: dnsmessage.RCodeServerFailure}
		}
		return reply{addrs: addrs("10.0.0.1")}
	})
	if got, err := r.SRV(t.Context(), "_grpc._tcp.hello.test."); err == nil {
		t.Errorf("got %v, want an error, as half a fleet is worse than none", got)
	}
}

func TestServers(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "system resolver",
		"127.0.0.1":             "127.0.0.1:53",
		"127.0.0.1:5353":        "127.0.0.1:5353",
		"::1":                   "[::1]:53",
		"[::1]":                 "[::1]:53",
		"[::1]:5353":            "[::1]:5353",
		"fe80::1%eth0":          "[fe80::1%eth0]:53",
		"dns.example.test:5353": "dns.example.test:5353",
	} {
		r, err := New(in)
		if err != nil || r.String() != want {
			t.Errorf("%q: got %v, %v, want %s", in, r, err, want)
		}
	}
	for _, in := range []string{":53", "a:0", "a:65536", "a:x", "a:1:2", "[::1", "::1]:53", "a b", "http://a", "[]", "[a b]:1", "a:+5"} {
		if r, err := New(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, r)
		}
	}
}

func TestPods(t *testing.T) {
	for _, tc := range []struct {
		in   []netip.Addr
		want string
	}{
		{nil, "[]"},
		{addrs("10.0.0.1"), "[[10.0.0.1]]"},
		{addrs("10.0.0.1", "fd00::1"), "[[10.0.0.1 fd00::1]]"},
		{addrs("10.0.0.1", "10.0.0.2"), "[[10.0.0.1] [10.0.0.2]]"},
		{addrs("10.0.0.1", "10.0.0.2", "fd00::1"), "[[10.0.0.1] [10.0.0.2] [fd00::1]]"},
		{addrs("fd00::1", "fd00::2"), "[[fd00::1] [fd00::2]]"},
	} {
		if got := fmt.Sprint(Pods(tc.in)); got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.in, got, tc.want)
		}
	}
}

// FuzzSplitHostPort checks that what SplitHostPort accepts means the same after it was
// joined and split again.
func FuzzSplitHostPort(f *testing.F) {
	for _, s := range []string{"a", "a:1", "::1", "[::1]:53", "[::1]", "[[::1]]", "a:", "10.0.0.1:99999", "fe80::1%x:1", "::%]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := SplitHostPort(s)
		if err != nil {
			return
		}
		if host == "" || port < 0 || port > 65535 {
			t.Fatalf("%q: host %q, port %d", s, host, port)
		}
		again, p, err := SplitHostPort(net.JoinHostPort(host, fmt.Sprint(max(port, 1))))
		if err != nil || again != host || p != max(port, 1) {
			t.Fatalf("%q: host %q, port %d; again: %q, %d, %v", s, host, port, again, p, err)
		}
	})
}

// BenchmarkAddrs measures what a pod pays for one lookup, every interval.
func BenchmarkAddrs(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var list []netip.Addr
			for i := range n {
				list = append(list, netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}))
			}
			s := serve(b, always(reply{addrs: list}))
			r, err := New(s.addr)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if got, err := r.Addrs(b.Context(), "hello.test."); err != nil || len(got) != n {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

func TestHost(t *testing.T) {
	for name, want := range map[string]string{
		"hello.test.":            "hello.test.",
		"_grpc._tcp.hello.test":  "hello.test",
		"_grpc._tcp.hello.test.": "hello.test.",
		"_grpc._tcp":             "_grpc._tcp",
		"_":                      "_",
		"":                       "",
	} {
		if got := Host(name); got != want {
			t.Errorf("Host(%q) is %q, want %q", name, got, want)
		}
	}
}
