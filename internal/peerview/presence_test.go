package peerview

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

// seeing lets b see these pods, and polls once, each second.
func seeing(t *testing.T, b *Book, d time.Duration, pods ...string) {
	t.Helper()
	for range d / time.Second {
		seeAddrs(b, pods...)
		_, _, complete := b.due()
		b.polled(complete)
		time.Sleep(time.Second)
	}
}

// A pod that the Service no longer lists is out of it, but not at once: it may be back in a
// moment. Before that its view is stale.
func TestAPodThatIsNoLongerListedIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newcomer(t, nil)
		others := []string{"127.0.0.2", "127.0.0.3"}
		all := append([]string{"127.0.0.1"}, others...)
		seeing(t, b, 40*time.Second, others...)
		if v := b.View(); !strings.Contains(v.Stale, "does not list this pod (127.0.0.1)") || v.Out != "" || b.Out() {
			t.Errorf("before it was ever a member: %+v", v)
		}
		seeing(t, b, 10*time.Second, all...)
		if v := b.View(); len(v.Members) != 3 || v.Self != "127.0.0.1" || v.Out != "" || b.Out() {
			t.Errorf("as a member: %+v", v)
		}
		for range 3 {
			seeing(t, b, 29*time.Second, others...)
			if v := b.View(); !strings.Contains(v.Stale, "no longer lists this pod (127.0.0.1)") || v.Out != "" || !b.Out() {
				t.Errorf("missing for 29 s: %+v, out: %v", v, b.Out())
			}
			seeing(t, b, time.Second, all...)
		}
		seeing(t, b, 31*time.Second, others...)
		v := b.View()
		if v.Stale != "" || v.Out != "hand has not listed this pod (127.0.0.1) for 30s, although it lives" || v.OutPods != 1 || v.Self != "127.0.0.1" {
			t.Errorf("missing for 30 s: %+v", v)
		}
		if len(v.Members) != 2 || v.Members[0].ID != "127.0.0.2" || v.Members[0].Self || v.Members[1].Self {
			t.Errorf("members are %+v, want the others", v.Members)
		}
		seeing(t, b, time.Second, all...)
		if v := b.View(); len(v.Members) != 3 || v.Out != "" || b.Out() {
			t.Errorf("listed again: %+v", v)
		}
	})
}

// One bad answer, after which the source fails, says nothing about the time since.
func TestOutNeedsGoodViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newcomer(t, nil)
		seeing(t, b, 10*time.Second, "127.0.0.1", "127.0.0.2")
		seeAddrs(b, "127.0.0.2")
		for range 60 {
			b.Update(peers.Membership{Err: fmt.Errorf("no answer")})
			b.polled(true)
			time.Sleep(time.Second)
			if v := b.View(); v.Out != "" || v.Stale == "" {
				t.Fatalf("after one answer without this pod: %+v", v)
			}
		}
	})
}

// A pod that was terminating when it was last listed is about to stop.
func TestATerminatingPodIsNotOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newcomer(t, nil)
		self, other := peers.Member{Addrs: addrsOf("127.0.0.1"), Terminating: true}, peers.Member{Addrs: addrsOf("127.0.0.2")}
		b.Update(peers.Membership{Members: []peers.Member{self, other}})
		seeing(t, b, time.Minute, "127.0.0.2")
		if v := b.View(); v.Out != "" || !strings.Contains(v.Stale, "which is terminating") || b.Out() {
			t.Errorf("got %+v", v)
		}
	})
}

// A pod that is out polls those that were members before, and counts those that are out, too.
func TestPodsThatAreOutAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newcomer(t, nil)
		seeing(t, b, 10*time.Second, "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
		stopping := peers.Member{Addrs: addrsOf("127.0.0.6"), Port: 1, Terminating: true}
		b.Update(peers.Membership{Members: []peers.Member{{Addrs: addrsOf("127.0.0.1")}, stopping}})
		if _, now, _ := b.due(); len(now) != 1 {
			t.Errorf("%d pods are polled while this pod is a member, want the listed one", len(now))
		}
		rest := []string{"127.0.0.5"}
		seeing(t, b, time.Second, rest...)
		_, now, _ := b.due()
		if len(now) != 4 {
			t.Fatalf("%d pods are polled, want 4: the member and 3 that were, without the terminating one", len(now))
		}
		for _, one := range now {
			if one.former != (one.id != "127.0.0.5") {
				t.Errorf("%+v", one)
			}
		}
		report := func(addr string, out bool, err error) {
			b.Record(addr, peerz.Report{Pod: "pod-" + addr, Ready: true, UptimeMillis: 1, Place: peerz.Place{Out: out}}, err)
		}
		report("127.0.0.2", true, nil)
		report("127.0.0.3", true, nil)
		report("127.0.0.4", false, nil)
		report("127.0.0.5", false, nil)
		seeing(t, b, 31*time.Second, rest...)
		if v := b.View(); v.Out == "" || v.OutPods != 3 {
			t.Errorf("%d pods are out, want this one and two: %+v", v.OutPods, v)
		}
		report("127.0.0.3", true, fmt.Errorf("refused")) // it has stopped
		if v := b.View(); v.OutPods != 2 {
			t.Errorf("%d pods are out, want this one and one that answers", v.OutPods)
		}
		if text := b.Silent(); text != "" {
			t.Errorf("pods that are no members count as silent: %s", text)
		}
		seeing(t, b, 10*time.Minute, rest...)
		if _, now, _ := b.due(); len(now) != 1 {
			t.Errorf("%d pods are polled after 10 min, want the member alone", len(now))
		}
		if v := b.View(); v.OutPods != 1 {
			t.Errorf("%d pods are out, want this one", v.OutPods)
		}
	})
}

// Nothing is drained before it is known how many others are out.
func TestOutWaitsForThePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newcomer(t, nil)
		seeing(t, b, time.Second, "127.0.0.1", "127.0.0.2")
		for range 60 {
			seeAddrs(b, "127.0.0.2")
			time.Sleep(time.Second)
		}
		if v := b.View(); v.Out != "" {
			t.Errorf("out without a poll: %+v", v)
		}
		seeing(t, b, 2*time.Second, "127.0.0.2")
		if v := b.View(); v.Out == "" {
			t.Errorf("not out: %+v", v)
		}
	})
}

func TestTerminatingPodsAreCounted(t *testing.T) {
	b := asker(t, nil, manyMembers(3)...)
	if n := b.View().Terminating; n != 0 {
		t.Errorf("%d terminating pods, want none", n)
	}
	b.Record("198.18.0.1", peerz.Report{Pod: "b"}, nil) // it reports that it is stopping
	members := manyMembers(3)
	members[2].Terminating = true
	seeMembers(b, members...)
	if n := b.View().Terminating; n != 2 {
		t.Errorf("%d terminating pods, want 2", n)
	}
}

// Zones count only if each member has one.
func TestZones(t *testing.T) {
	b := asker(t, nil)
	members := manyMembers(3)
	self := peers.Member{Addrs: addrsOf("127.0.0.1"), Zone: "a"}
	members[0].Zone, members[1].Zone = "a", "b"
	b.Update(peers.Membership{Members: append(members, self)})
	if z := b.View().Zones; z != nil {
		t.Errorf("zones %v although one member has none", z)
	}
	members[2].Terminating = true
	for _, zone := range []string{"b", "c"} { // a change of the zone alone, too
		members[1].Zone = zone
		b.Update(peers.Membership{Members: append(members, self)})
		want := "map[127.0.0.1:a 198.18.0.0:a 198.18.0.1:" + zone + "]"
		if z := fmt.Sprint(b.View().Zones); z != want {
			t.Errorf("zones %v, want %v", z, want)
		}
	}
}

// How many revisions the members run is known only if each has reported its own.
func TestRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := asker(t, func(o *Options) { o.Revision = "one" }, manyMembers(2)...)
		report := func(addr, revision string) {
			b.Record(addr, peerz.Report{Pod: addr, Ready: true, UptimeMillis: 1, Place: peerz.Place{Revision: revision}}, nil)
		}
		want := func(n int) {
			t.Helper()
			if got := b.View().Revisions; got != n {
				t.Errorf("%d revisions, want %d", got, n)
			}
		}
		want(0)
		report("198.18.0.0", "one")
		want(0)
		report("198.18.0.1", "one")
		want(1)
		report("198.18.0.1", "two")
		want(2)
		members := manyMembers(3)
		members[1].Terminating = true
		seeMembers(b, members...)
		want(0) // the new one has not reported
		report("198.18.0.2", "one")
		want(1) // the one that stops does not count
		report("198.18.0.2", "")
		want(0)
		report("198.18.0.2", "one")
		want(1)
		time.Sleep(61 * time.Second)
		seeMembers(b, members...)
		want(0)
	})
}

// New pods are polled soon, and planning learns of it. A membership that changes all the time
// causes a bounded number of polls.
func TestNewPodsArePolledSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polls, changed atomic.Int64
		b := newcomer(t, func(o *Options) { o.Events.Changed = func() { changed.Add(1) } })
		b.client.Dial = func(context.Context, string, string) (net.Conn, error) {
			polls.Add(1)
			ours, theirs := net.Pipe()
			go answerOnce(theirs, false)
			return ours, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.pollUntil(ctx) }()
		seeMembers(b, manyMembers(1)...)
		time.Sleep(500 * time.Millisecond)
		changed.Store(0)
		before := polls.Load()
		seeMembers(b, manyMembers(2)...)
		changed.Store(0)
		time.Sleep(75 * time.Millisecond)
		if polls.Load() != before+2 || changed.Load() != 1 {
			t.Errorf("%d polls within 75 ms, and %d signals, want one of each pod and 1", polls.Load()-before, changed.Load())
		}
		before = polls.Load()
		for i := range 10_000 {
			seeMembers(b, manyMembers(1+i%2)...)
			time.Sleep(time.Millisecond)
		}
		if n := polls.Load() - before; n > 240 { // ten and one rounds a second, of two pods each
			t.Errorf("%d polls in 10 s, want 240 at most", n)
		}
		cancel()
		<-done
		b.client.Close()
	})
}

// The pods that stop in good order are known by name, from the source or from themselves. One
// that does not answer is not among them.
func TestStoppingPodsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := asker(t, nil, manyMembers(4)...)
		want := func(when string, pods ...string) {
			t.Helper()
			if got := b.View().Stopping; !slices.Equal(got, pods) {
				t.Errorf("%s: %v are stopping, want %v", when, got, pods)
			}
		}
		for _, addr := range []string{"198.18.0.0", "198.18.0.1", "198.18.0.2"} {
			b.Record(addr, peerz.Report{Pod: addr, Ready: true, UptimeMillis: 1}, nil)
		}
		want("all serve")
		b.Record("198.18.0.1", peerz.Report{Pod: "198.18.0.1", UptimeMillis: 2}, nil)
		b.Record("198.18.0.2", peerz.Report{}, errors.New("no answer"))
		want("one reports it", "198.18.0.1")
		members := manyMembers(4)
		members[0].Terminating = true
		seeMembers(b, members...)
		want("the source knows of another", "198.18.0.0", "198.18.0.1")
		seeMembers(b, members[2:]...)
		want("both are gone")
	})
}
