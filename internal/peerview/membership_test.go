package peerview

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

// With a view of only the pods that were polled first, the others would be a growth, and
// then another.
func TestNoViewBeforeAllUnprovenPodsWerePolled(t *testing.T) {
	for n, polls := range map[int]int{32: 1, 33: 5, 100: 13} {
		members := make([]peers.Member, n)
		for i := range members {
			members[i] = peers.Member{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 1, 0, byte(i + 1)})}, Port: 1, Unproven: true}
		}
		b := asker(t, nil, members...)
		for i := range polls + 1 {
			if rows := b.Rows(""); (len(rows) == n+1) != (i == polls) {
				t.Errorf("of %d pods, after %d polls: a view of %d", n, i, len(rows))
			}
			b.poll(t.Context())
		}
	}
}

// The health port tells members from others by their addresses, of which a pod may have several.
func TestAddressesOfMembers(t *testing.T) {
	own, v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("198.18.0.7"), netip.MustParseAddr("2001:db8::7")
	b := newcomer(t, nil)
	if b.IsMember(own) || b.Addresses() != 0 {
		t.Errorf("before the first view %d addresses are known", b.Addresses())
	}
	seeMembers(b, peers.Member{Addrs: []netip.Addr{v4, v6}, Port: 1})
	if got := b.Addresses(); got != 3 {
		t.Errorf("got %d addresses, want 3", got)
	}
	seeMembers(b, peers.Member{Addrs: []netip.Addr{v6}, Port: 1})
	for addr, want := range map[netip.Addr]bool{own: true, v6: true, v4: false} {
		if got := b.IsMember(addr); got != want {
			t.Errorf("%v: got a member %v, want %v", addr, got, want)
		}
	}
}

// Pods that must prove that they serve are members from one turn to the next, however many
// there are. While some have not been polled there is no view, and not a growth every second.
func TestManyUnprovenPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		b := asker(t, nil)
		members := manyMembers(n)
		for i := range members {
			members[i].Unproven = true
		}
		seeMembers(b, members...)
		b.client.Timeout = time.Nanosecond // nobody is there
		walk := (n + plan.PollHandful - 1) / plan.PollHandful
		for i := range 3 * walk {
			if rows := b.Rows(""); (len(rows) == n+1) != (i >= walk) {
				t.Fatalf("after %d polls there are %d members", i, len(rows))
			}
			_, now, complete := b.due()
			for _, one := range now {
				b.Record(one.id, peerz.Report{Ready: true}, nil)
			}
			b.polled(complete)
			time.Sleep(PollEvery)
			for _, m := range members {
				if _, proves := fresh(b, m.Addrs[0].String()); i >= walk && !proves {
					t.Fatalf("after %d polls %v is no member any more", i, m.Addrs)
				}
			}
		}
		time.Sleep(time.Minute)
		if _, proves := fresh(b, members[0].Addrs[0].String()); proves {
			t.Error("a pod that has been silent for a minute counts as a member")
		}
	})
}

// A pod that reports that it stops is gone. While a DNS answer still lists it, it must not
// come back as a growth.
func TestStoppingPodDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := asker(t, nil, manyMembers(1)...)
		serves := func() bool {
			all, _ := b.Members()
			return len(all) == 2
		}
		b.Record("198.18.0.0", peerz.Report{Pod: "b", UptimeMillis: 9, Ready: true}, nil)
		if !serves() {
			t.Fatal("the pod is no member at first")
		}
		b.Record("198.18.0.0", peerz.Report{Pod: "b", UptimeMillis: 9}, nil)
		for range 59 {
			time.Sleep(time.Second)
			seeMembers(b, manyMembers(1)...) // renewed
			b.Record("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
			if serves() {
				t.Fatal("the pod is a member again although it has stopped")
			}
		}
		b.Record("198.18.0.0", peerz.Report{Pod: "b", UptimeMillis: 1, Ready: true}, nil)
		if !serves() || len(b.Restarted()) != 1 {
			t.Error("a new pod at its address is no member")
		}
	})
}

// fresh returns whether the pod's report proves that it serves, and whether it proves anything.
func fresh(b *Book, id string) (ready, proves bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, proves := b.freshLocked(id)
	return s.Ready, proves
}

// The addresses decide which pod is this one; the name does where the Service has only the
// other address family.
func TestSelf(t *testing.T) {
	self := Self{Pod: "a", Addr: netip.MustParseAddr("198.18.0.1")}
	for _, tc := range []struct {
		pod, addr string
		self      bool
	}{
		{"a", "2001:db8::1", true},
		{"b", "2001:db8::1", false},
		{"", "2001:db8::1", false},
		{"a", "198.18.0.2", false},
		{"b", "198.18.0.1", true},
	} {
		m := peers.Member{Pod: tc.pod, Addrs: []netip.Addr{netip.MustParseAddr(tc.addr)}}
		if got := self.Is(&m); got != tc.self {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestOneAddressFamilyOrTwoIsOnePod(t *testing.T) {
	one, two := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8::1")
	for _, addrs := range [][]netip.Addr{{one, two}, {two, one}} {
		b := asker(t, func(o *Options) { o.Self.Addr = two })
		b.Update(peers.Membership{Members: []peers.Member{{Addrs: addrs}}})
		all, stale := b.Members()
		if len(all) != 1 || all[0].ID != "198.18.0.1" || !all[0].Self || len(all[0].Addrs) != 2 {
			t.Errorf("%v: %+v, %q", addrs, all, stale)
		}
	}
}

func TestWhichPodsAreMembers(t *testing.T) {
	b := asker(t, func(o *Options) { o.Self.Addr = netip.MustParseAddr("198.18.0.1") })
	m := peers.Membership{Members: manyMembers(5)[1:]}
	m.Members[1].Terminating = true
	m.Members[2].Unproven = true
	b.Update(m)
	b.polled(true)
	ids := func() string {
		all, stale := b.Members()
		var out []string
		for _, one := range all {
			out = append(out, one.ID)
		}
		return strings.Join(out, " ") + stale
	}
	if got := ids(); got != "198.18.0.1 198.18.0.4" {
		t.Errorf("members %q: neither the one that terminates nor the one that never answered", got)
	}
	b.Record("198.18.0.3", peerz.Report{Pod: "c", Ready: true}, nil)
	b.Record("198.18.0.4", peerz.Report{Pod: "d", Ready: false}, nil)
	if got := ids(); got != "198.18.0.1 198.18.0.3" {
		t.Errorf("members %q: .3 answers now, and .4 reports that it is stopping", got)
	}
}

// A source may go on using what it has reported.
func TestWhatASourceReportsIsCopied(t *testing.T) {
	b := asker(t, nil)
	m := peers.Membership{Members: manyMembers(2)}
	b.Update(m)
	for _, addr := range []string{"198.18.0.3", "198.18.0.4"} {
		m.Members[1].Addrs[0] = netip.MustParseAddr(addr)
		if b.reported[1].Addrs[0] == m.Members[1].Addrs[0] {
			t.Error("the Book keeps the slice of the source")
		}
		b.Update(m)
		if got := b.members[1].id; got != addr {
			t.Errorf("%s is polled, want %s", got, addr)
		}
	}
}
