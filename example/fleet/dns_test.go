package fleet

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func listenDNS(t *testing.T, addrs ...string) *DNS {
	t.Helper()
	d, err := ListenDNS(7*time.Second, addrs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func ips(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func query(t *testing.T, proto, server, name string, kind uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, kind)
	reply, _, err := (&dns.Client{Net: proto, Timeout: 10 * time.Second}).Exchange(m, server)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestDNSAnswers(t *testing.T) {
	d := listenDNS(t, "127.0.0.1:0")
	server := d.Addrs()[0]
	d.Set("hello.test", ips("127.0.1.1", "127.0.1.2", "::1")...)
	d.Set("empty.test")
	for _, proto := range []string{"udp", "tcp"} {
		for _, tc := range []struct {
			name  string
			kind  uint16
			n     int
			rcode int
		}{
			{"hello.test.", dns.TypeA, 2, dns.RcodeSuccess},
			{"HELLO.test.", dns.TypeA, 2, dns.RcodeSuccess},
			{"hello.test.", dns.TypeAAAA, 1, dns.RcodeSuccess},
			{"hello.test.", dns.TypeTXT, 0, dns.RcodeSuccess},
			{"empty.test.", dns.TypeA, 0, dns.RcodeSuccess},
			{"other.test.", dns.TypeA, 0, dns.RcodeNameError},
		} {
			reply := query(t, proto, server, tc.name, tc.kind)
			if len(reply.Answer) != tc.n || reply.Rcode != tc.rcode {
				t.Errorf("%s %s %s: got %d answers and %s, want %d and %s", proto, tc.name, dns.TypeToString[tc.kind],
					len(reply.Answer), dns.RcodeToString[reply.Rcode], tc.n, dns.RcodeToString[tc.rcode])
			}
			for _, rr := range reply.Answer {
				if rr.Header().Ttl != 7 || rr.Header().Name != tc.name {
					t.Errorf("got record %v, want name %s and TTL 7", rr, tc.name)
				}
			}
		}
	}
}

// An answer too long for UDP is truncated, and complete over TCP. Go's own resolver,
// which grpc-go uses, falls back to TCP by itself.
func TestDNSLongAnswer(t *testing.T) {
	d := listenDNS(t, "127.0.0.1:0")
	var all []netip.Addr
	for i := range 200 {
		all = append(all, netip.AddrFrom4([4]byte{127, 1, 0, byte(i)}))
	}
	d.Set("many.test", all...)
	if reply := query(t, "udp", d.Addrs()[0], "many.test.", dns.TypeA); !reply.Truncated {
		t.Error("the answer over UDP is not truncated")
	}
	got := lookup(t, d, "many.test")
	if !slices.Equal(got, all) {
		t.Errorf("got %d addresses, want %d", len(got), len(all))
	}
}

// lookup resolves name as a Go program does, and sorts the addresses.
func lookup(t *testing.T, d *DNS, name string) []netip.Addr {
	t.Helper()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, d.Addrs()[0])
	}}
	got, err := r.LookupNetIP(t.Context(), "ip4", name+".")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, netip.Addr.Compare)
	return got
}

func TestDNSRecordsLastQueryPerAddress(t *testing.T) {
	d := listenDNS(t, "127.0.0.1:0", "127.0.0.2:0")
	d.Set("hello.test", ips("127.0.1.1")...)
	first, second := d.Addrs()[0], d.Addrs()[1]
	before := time.Now()
	query(t, "udp", first, "hello.test.", dns.TypeA)
	if last := d.Last(first, "hello.test"); last.Before(before) {
		t.Errorf("last query to the first address at %v, want after %v", last, before)
	}
	if last := d.Last(second, "hello.test"); !last.IsZero() {
		t.Errorf("last query to the second address at %v, want none", last)
	}
	if last := d.Last(first, "other.test"); !last.IsZero() {
		t.Errorf("last query for other.test at %v, want none", last)
	}
}

func TestSetAfterDelaysAnswers(t *testing.T) {
	d := listenDNS(t, "127.0.0.1:0")
	d.Set("hello.test", ips("127.0.1.1")...)
	d.SetAfter(time.Hour, "hello.test", ips("127.0.1.9")...)
	d.SetAfter(time.Millisecond, "hello.test", ips("127.0.1.1", "127.0.1.2")...)
	deadline := time.Now().Add(30 * time.Second)
	for len(d.Get("hello.test")) != 2 {
		if time.Now().After(deadline) {
			t.Fatalf("hello.test still has %v, want 2 addresses", d.Get("hello.test"))
		}
		query(t, "udp", d.Addrs()[0], "hello.test.", dns.TypeA)
	}
	if got := lookup(t, d, "hello.test"); !slices.Equal(got, ips("127.0.1.1", "127.0.1.2")) {
		t.Errorf("got %v, want 127.0.1.1 and 127.0.1.2", got)
	}
}

// Three pods that become ready at the same moment are announced one after the other.
// The last announcement has all of them and must win.
func TestSetAfterKeepsLatestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := ListenDNS(0)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		all := ips("127.0.1.1", "127.0.1.2", "127.0.1.3")
		for range 1000 {
			for n := range len(all) {
				d.SetAfter(time.Second, "hello.test", all[:n+1]...)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := d.Get("hello.test"); len(got) != len(all) {
				t.Fatalf("got %d addresses, want %d", len(got), len(all))
			}
		}
	})
}

func TestListenDNSFailsOnTakenPort(t *testing.T) {
	d := listenDNS(t, "127.0.0.1:0")
	if other, err := ListenDNS(0, d.Addrs()[0]); err == nil {
		other.Close()
		t.Error("ListenDNS on a taken port returned no error")
	}
}
