package peerview

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

func addrsOf(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// onMachine returns a Book whose machine has these addresses, and that has no $POD_IP.
func onMachine(t *testing.T, addrs ...string) *Book {
	t.Helper()
	return newcomer(t, func(o *Options) {
		o.Self = Self{Pod: "pod-a"}
		o.Interfaces = func() []netip.Addr { return addrsOf(addrs...) }
	})
}

// seeAddrs lets b see a member for each address.
func seeAddrs(b *Book, addrs ...string) {
	var m peers.Membership
	for _, a := range addrsOf(addrs...) {
		m.Members = append(m.Members, peers.Member{Addrs: []netip.Addr{a}, Port: 1})
	}
	b.Update(m)
}

// Without $POD_IP, a pod is the member that has an address of its network interfaces.
func TestSelfByInterface(t *testing.T) {
	machine := []string{"127.0.0.1", "::1", "198.18.0.1", "fe80::1", "2001:db8::1"}
	for _, tc := range []struct {
		listed      []string
		self, stale string
	}{
		{listed: []string{"198.18.0.2", "198.18.0.1"}, self: "198.18.0.1"},
		{listed: []string{"198.18.0.2", "::ffff:198.18.0.1"}, self: "198.18.0.1"},
		{listed: []string{"127.0.0.1", "127.0.0.2"}, self: "127.0.0.1"},
		{listed: []string{"198.18.0.2", "198.18.0.3"}, stale: "hand lists no address of this pod's network interfaces (198.18.0.1 2001:db8::1): it is not ready yet, or $POD_IP must be set"},
		{listed: []string{"fe80::1", "fe80::2"}, stale: "hand lists no address of this pod's"},
		{listed: []string{"198.18.0.1", "2001:db8::1"}, stale: "hand lists 2 members with addresses of this pod's network interfaces (198.18.0.1 2001:db8::1): set $POD_IP to the one that is this pod's"},
	} {
		b := onMachine(t, machine...)
		seeAddrs(b, tc.listed...)
		self := ""
		all, stale := b.Members()
		for _, m := range all {
			if m.Self {
				self = m.Addrs[0].Unmap().String()
			}
		}
		if self != tc.self || !strings.Contains(stale, tc.stale) || (tc.stale == "") != (stale == "") {
			t.Errorf("%v: got self %q, stale %q, want %q, %q", tc.listed, self, stale, tc.self, tc.stale)
		}
	}
}

// A pod that has not found itself among the members polls itself, and hears its own name. So
// does one that is listed a second time, with its address of the other family.
func TestOwnReportIsNoDuplicateName(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Options)
		at     string
	}{
		"not listed yet":   {func(o *Options) { o.Self.Addr = netip.MustParseAddr("198.18.0.9") }, "198.18.0.1"},
		"two own members":  {func(o *Options) { o.Self.Addr = netip.Addr{} }, "198.18.0.1"},
		"the other family": {func(o *Options) { o.Self.Addr = netip.MustParseAddr("198.18.0.1") }, "2001:db8::1"},
	} {
		b := asker(t, func(o *Options) {
			o.Interfaces = func() []netip.Addr { return addrsOf("198.18.0.1", "2001:db8::1") }
			tc.change(o)
		})
		seeAddrs(b, "198.18.0.1", "2001:db8::1", "198.18.0.2")
		b.Record(tc.at, peerz.Report{Pod: "pod-a", Ready: true}, nil)
		if text := b.Duplicates(); text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// The address that a pod had while it was listed is its own afterwards, too: DNS may still
// send clients there.
func TestOwnAddressIsRemembered(t *testing.T) {
	b := onMachine(t, "198.18.0.1")
	seeAddrs(b, "198.18.0.1", "198.18.0.2")
	seeAddrs(b, "198.18.0.2")
	if got := b.OwnAddrs(); len(got) != 1 || got[0].String() != "198.18.0.1" {
		t.Errorf("own addresses %v, want 198.18.0.1", got)
	}
}

// With a wrong $POD_IP, the text names the right one.
func TestWrongPodIP(t *testing.T) {
	b := asker(t, func(o *Options) {
		o.Self.Addr = netip.MustParseAddr("198.18.0.9")
		o.Interfaces = func() []netip.Addr { return addrsOf("198.18.0.1") }
	})
	seeAddrs(b, "198.18.0.1", "198.18.0.2")
	want := "hand does not list this pod (198.18.0.9): it is not ready yet, or $POD_IP is wrong: 198.18.0.1 is listed, and is an address of this pod"
	if _, stale := b.Members(); stale != want {
		t.Errorf("got  %q\nwant %q", stale, want)
	}
}

// A name that gives the address of a ClusterIP gives one address that no pod has.
func TestNameOfAClusterIP(t *testing.T) {
	for headless, want := range map[bool]string{
		true:  "hand answers 198.18.0.1 alone, and that is not this pod (127.0.0.1): is the Service headless? The address of a ClusterIP stands for all of its pods",
		false: "hand does not list this pod (127.0.0.1): it is not ready yet, or $POD_IP is wrong",
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newcomer(t, func(o *Options) { o.ByName = headless })
			for range 15 {
				seeAddrs(b, "198.18.0.1")
				if _, stale := b.Members(); !strings.Contains(stale, "it is not ready yet") {
					t.Fatalf("at first: %q", stale)
				}
				time.Sleep(2 * time.Second)
			}
			seeAddrs(b, "198.18.0.1")
			if _, stale := b.Members(); stale != want {
				t.Errorf("by name %v: got  %q\nwant %q", headless, stale, want)
			}
			seeAddrs(b, "198.18.0.1", "198.18.0.2")
			if _, stale := b.Members(); !strings.Contains(stale, "does not list this pod") {
				t.Errorf("with two addresses: %q", stale)
			}
		})
	}
}

// Pods whose port is not known cannot be polled, which is not the same as not ready.
func TestPortIsNotKnown(t *testing.T) {
	b := asker(t, nil)
	own := peers.Member{Addrs: addrsOf("127.0.0.1")}
	given := peers.Member{Addrs: addrsOf("127.0.0.2"), Port: 8080}
	none := peers.Member{Addrs: addrsOf("127.0.0.3")}
	b.Update(peers.Membership{Members: []peers.Member{own, given, none}})
	if n := b.Portless(); n != 1 {
		t.Errorf("%d pods without a port, want 1", n)
	}
	for _, row := range b.Rows("") {
		if got := row.Err != nil && strings.Contains(row.Err.Error(), "peers.port"); got != (row.Address == "127.0.0.3") {
			t.Errorf("%+v", row)
		}
	}
	if b.SetPort(8080); b.Portless() != 0 {
		t.Error("the port is known now")
	}
}
