package peerview

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

// announcing is in the reports of pods of this version, whose salt is empty in these tests.
var announcing = peerz.Place{SaltCheck: peerz.NewHasher("").SaltCheck()}

func wantStarting(t *testing.T, b *Book, n int, known bool) {
	t.Helper()
	if v := b.View(); v.Starting != n || v.StartingKnown != known {
		t.Errorf("%d pods are starting, known: %v, want %d and %v", v.Starting, v.StartingKnown, n, known)
	}
}

func start(pod, addr string) peerz.Start {
	s := peerz.Start{Pod: pod}
	if addr != "" {
		s.Addr = netip.MustParseAddr(addr)
	}
	return s
}

func TestAnnouncedPodsAreStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := asker(t, func(o *Options) { o.ByName = true }, manyMembers(1)...)
		b.Record("198.18.0.0", peerz.Report{Pod: "b", Ready: true, Place: announcing}, nil)
		wantStarting(t, b, 0, true)
		for range 2 {
			b.Starts(start("c", "198.18.0.1"))
			b.Starts(start("d", ""))
		}
		wantStarting(t, b, 2, true)
		seeMembers(b, manyMembers(2)...) // c is listed now, and by its address no longer starting
		b.Record("198.18.0.1", peerz.Report{Pod: "c", Ready: true, Place: announcing}, nil)
		wantStarting(t, b, 1, true)
		seeMembers(b, manyMembers(3)...) // d is, too: by its name, once it reports
		b.Record("198.18.0.2", peerz.Report{Pod: "d", Ready: true, Place: announcing}, nil)
		wantStarting(t, b, 0, true)
		b.Starts(start("e", ""))
		wantStarting(t, b, 1, true)
		time.Sleep(3 * time.Second)
		wantStarting(t, b, 0, true) // it asks no more: it has stopped, or is a member elsewhere
	})
}

// A pod that never becomes ready is not waited for, however long it asks.
func TestAPodThatNeverBecomesReadyIsNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := asker(t, nil)
		for i := range 600 {
			b.Starts(start("c", "198.18.0.1"))
			want := 1
			if i >= 120 {
				want = 0
			}
			seeMembers(b) // renewed
			wantStarting(t, b, want, false)
			time.Sleep(time.Second)
		}
	})
}

// Anybody who reaches the port can announce pods. Only a few are remembered, the loop is woken
// as rarely, and nothing but Starting changes.
func TestAHostileAskerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken atomic.Int64
		b := asker(t, func(o *Options) { o.ByName, o.Events.Changed = true, func() { woken.Add(1) } }, manyMembers(2)...)
		announces := peerz.Report{Pod: "b", Ready: true, Place: announcing}
		renew := func() {
			seeMembers(b, manyMembers(2)...)
			b.Record("198.18.0.0", announces, nil)
			b.Record("198.18.0.1", announces, nil)
		}
		renew()
		before := b.View()
		woken.Store(0)
		for i := range 60_000 {
			b.Starts(start(fmt.Sprintf("pod-%d", i), "198.18.9.9"))
			time.Sleep(time.Millisecond)
		}
		renew()
		if n := len(b.announced); n > 64 {
			t.Errorf("%d pods are remembered, want 64 at most", n)
		}
		if n := woken.Load(); n > 128 {
			t.Errorf("the loop was woken %d times in a minute, want 128 times at most", n)
		}
		after := b.View()
		if after.Starting > 64 || !before.StartingKnown || after.StartingKnown { // honest pods may not have been heard
			t.Errorf("%d starting, known: %v, then %v", after.Starting, before.StartingKnown, after.StartingKnown)
		}
		after.Starting, after.StartingKnown = before.Starting, before.StartingKnown
		if fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("the view was %+v, is %+v", before, after)
		}
		time.Sleep(time.Minute)
		b.Starts(start("honest", ""))
		renew()
		wantStarting(t, b, 1, true)
	})
}

// That all starting pods are known must be certain: each would announce itself to this pod.
func TestStartingIsKnownOnlyIfAllWouldAnnounceThemselves(t *testing.T) {
	const byName = true
	report := peerz.Report{Pod: "b", Ready: true, Place: announcing}
	old := peerz.Report{Pod: "b", Ready: true}
	for name, tc := range map[string]struct {
		byName  bool
		members int
		report  peerz.Report
		age     time.Duration
		change  func([]peers.Member)
		known   bool
	}{
		"all announce":          {byName, 3, report, 0, nil, true},
		"alone":                 {byName, 0, report, 0, nil, true},
		"as many as are polled": {byName, 32, report, 0, nil, true},
		"too many":              {byName, 33, report, 0, nil, false},
		"a source of one's own": {false, 3, report, 0, nil, false},
		"an older version":      {byName, 3, old, 0, nil, false},
		"silent":                {byName, 3, report, 11 * time.Second, nil, false},
		"unproven":              {byName, 3, report, 0, func(m []peers.Member) { m[0].Unproven = true }, false},
		"terminating":           {byName, 1, old, 0, func(m []peers.Member) { m[0].Terminating = true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				members := manyMembers(tc.members)
				if tc.change != nil {
					tc.change(members)
				}
				b := asker(t, func(o *Options) { o.ByName = tc.byName }, members...)
				b.polled(true)
				for _, m := range members {
					b.Record(m.Addrs[0].String(), tc.report, nil)
				}
				time.Sleep(tc.age)
				wantStarting(t, b, 0, tc.known)
			})
		})
	}
}

// What the source knows counts for more than what pods announce.
func TestTheSourceKnowsWhoIsStarting(t *testing.T) {
	b := asker(t, nil)
	b.Update(peers.Membership{Members: []peers.Member{{Addrs: addrsOf("127.0.0.1")}}, Starting: 1, StartingKnown: true})
	b.Starts(start("c", "198.18.0.1"))
	b.Starts(start("d", "198.18.0.2"))
	wantStarting(t, b, 1, true)
}

// A pod announces itself from its first view on until it is a member, and not while it stops.
func TestAPodAnnouncesItself(t *testing.T) {
	heard := make(chan peerz.Start, 100)
	answers := telling(peerz.Report{Pod: "pod-b", Ready: true})
	at, _ := serveAt(t, "127.0.0.2", 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := peerz.StartOf(r); ok {
			heard <- s
		}
		answers.ServeHTTP(w, r)
	}))
	ready := true
	b := newcomer(t, func(o *Options) { o.Ready = func() bool { return ready } })
	other, self := podAt("pod-b", at), peers.Member{Addrs: addrsOf("127.0.0.1"), Port: 1}
	see := func(want int, members ...peers.Member) {
		t.Helper()
		b.Update(peers.Membership{Members: members})
		b.poll(t.Context())
		if len(heard) != want {
			t.Fatalf("heard %d announcements, want %d", len(heard), want)
		}
		for range want {
			if s := <-heard; s != start("pod-a", "127.0.0.1") {
				t.Errorf("heard %+v", s)
			}
		}
	}
	see(1, other)
	if len(b.news) != 1 {
		t.Error("the first view does not wake the polls")
	}
	ready = false
	see(0, other)
	ready = true
	see(1, other)
	see(0, other, self)
	see(0, other) // it is out, not starting
}
