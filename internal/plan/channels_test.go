package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Channels of an address that have just resolved by themselves do not leave out the others,
// which would have to wait for the next round. If most have, few are drained.
func TestChannelsThatResolvedLeaveOutNobody(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ resolved, most, unreached int }{
		{0, 10, 0},
		{1, 10, 0},
		{5, 10, 0},
		{7, 3, 3},
		{10, 0, 0},
	} {
		t.Run(fmt.Sprintf("%d of 10", tc.resolved), func(t *testing.T) {
			f := newFleet(1, 10, 1)
			f.run(time.Minute)
			f.scale(4)
			f.resolveAll()
			for _, c := range f.channels[:tc.resolved] {
				f.resolve(c)
			}
			f.run(40 * time.Second)
			unreached := 0
			for _, c := range f.channels {
				if len(c.conns) < 4 {
					unreached++
				}
			}
			if n := f.goaways[reason.Reach]; n > tc.most || unreached > tc.unreached {
				t.Errorf("got %d GOAWAYs and %d channels that do not know the new pods, want %d and %d at most",
					n, unreached, tc.most, tc.unreached)
			}
		})
	}
}

// Of an address with both kinds of clients, reach drains no more connections than there can
// be channels.
func TestReachDrainsNoMoreThanTheWitnessHolds(t *testing.T) {
	f := newFleet(2, 6, 1)
	for range 10 {
		f.place(f.pods[0], &singleClient{key: f.channels[0].key}, false)
	}
	f.noEvenness()
	f.run(time.Minute)
	f.scale(4)
	f.resolveAll()
	f.run(30 * time.Second)
	if n := f.goaways[reason.Reach]; n < 1 || n > 6 {
		t.Errorf("got %d GOAWAYs for reach with 6 channels, want 1 to 6", n)
	}
}

// Of an address with both kinds of clients most channels are reached, even if the owner's
// single-homed connections are many and older than theirs. Nothing shows which connections
// are the channels', so not all are: the rest is for evenness, which is off here.
func TestChannelsAreReachedBesideOlderSingleHomedClients(t *testing.T) {
	t.Parallel()
	const channels = 40
	for seed := range uint64(20) {
		f := newFleet(3, 0, 1)
		f.rand = rand.New(rand.NewPCG(seed, 0))
		owner := newOwners(f.pods).of("key-0", 1)
		for _, pod := range f.pods {
			n := 5
			if pod == owner {
				n = 30
			}
			for range n {
				f.place(pod, &singleClient{key: "key-0"}, false)
			}
		}
		for range channels {
			f.addChannel("key-0")
		}
		f.noEvenness()
		f.run(time.Minute)
		f.scale(5)
		f.resolveAll()
		f.run(10 * time.Minute)
		reached := 0
		for _, c := range f.channels {
			if len(c.conns) == 5 {
				reached++
			}
		}
		if reached < channels*3/4 {
			t.Errorf("seed %d: got %d of %d channels on all pods, want three quarters", seed, reached, channels)
		}
	}
}

// A connection of a pick_first client that opens between two growths never comes back. The
// channels that rest after the first growth are drained all the same.
func TestRestingChannelsAreDrainedThoughOthersStayedAway(t *testing.T) {
	f := newFleet(1, 20, 20)
	f.run(time.Minute)
	f.scale(2)
	f.resolveAll()
	f.run(20 * time.Second)
	for i := range 4 {
		f.place(f.pods[0], &singleClient{key: fmt.Sprint("late-", i), gone: true}, false)
	}
	f.noEvenness()
	f.scale(3)
	f.resolveAll()
	f.run(10 * time.Minute)
	for _, c := range f.channels {
		if len(c.conns) != 3 {
			t.Errorf("%s is on %d pods, want 3", c.key, len(c.conns))
		}
	}
}

// A young witness may not have been reached itself, so it does not bound what is drained.
func TestYoungWitnessBoundsNothing(t *testing.T) {
	conns := make([]*Conn, 10)
	for i := range conns {
		conns[i] = &Conn{ID: uint64(i), Key: "k"}
	}
	for _, tc := range []struct {
		young bool
		want  int
	}{{false, 4}, {true, 10}} {
		g := &growth{round: 1, opened: time.Hour, new: []string{"new"}, owners: newOwners([]string{"a", "b"})}
		if g.witnesses = g.owners; tc.young {
			g.witnesses = newOwners([]string{"a", "young"})
		}
		g.inquiry.begin(1, []string{"k"}, g.new, g.witnesses, "a")
		for pod := range g.inquiry.query.Keys {
			g.inquiry.keep(pod, map[string]int{"k": 0})
		}
		g.inquiry.counts[g.inquiry.witness[0]]["k"] = 4
		if got := len(g.appendMissing(nil, conns, &View{Now: time.Hour}, &Policy{})); got != tc.want {
			t.Errorf("young %v: got %d connections to drain, want %d", tc.young, got, tc.want)
		}
	}
}

// What another pod has found out about a client counts more than the number of its
// connections there.
func TestClientsKnownToBeSingleHomedAreSkipped(t *testing.T) {
	s := &State{growth: &growth{round: 2, new: []string{"new"}, owners: newOwners([]string{"a", "b"})}}
	g := s.growth
	g.witnesses = g.owners
	g.inquiry.begin(1, []string{"multi", "nat"}, g.new, g.witnesses, "a")
	g.inquiry.take(&Counts{Query: 1, ByPod: map[string]map[string]int{
		"b": {"nat": 3, "multi": 3}, "new": {"nat": 0, "multi": 0},
	}, SingleHomed: map[string]bool{"nat": true}}, 2, g.witnesses, "a")
	for key, want := range map[string]kind{"nat": singleHomed, "multi": multiHomed} {
		if got := s.kind(key, &View{}); got != want {
			t.Errorf("%s: got kind %d, want %d", key, got, want)
		}
	}
}

// Channels of one address are drained without a sample if two pods hold as many of them: nobody
// waits for the proxies, which such clients do not use.
func TestChannelsOfOneAddressAreDrainedAtOnce(t *testing.T) {
	f := newFleet(2, 30, 3)
	f.noEvenness()
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.run(20 * time.Second)
	f.wantOnAll(t)
	if n := len(f.sentAt); n != 30 {
		t.Fatalf("got %d GOAWAYs, want one for each of 30 channels", n)
	}
	if took := f.sentAt[29] - f.sentAt[0]; took > time.Second {
		t.Errorf("got the last GOAWAY %v after the first, want at most a second", took)
	}
}

// Where single-homed clients share the address, a few are drained first, once the proxies know
// the new pods. As soon as all of these are back, the others follow.
func TestChannelsFollowASampleThatIsBack(t *testing.T) {
	f := newFleet(2, 40, 1)
	owner := newOwners(f.pods).of("key-0", 1)
	other := f.pods[0]
	if other == owner {
		other = f.pods[1]
	}
	for range 2 { // single-homed clients of the other pod: the owner drains channels only
		f.place(other, &singleClient{key: "key-0"}, false)
	}
	f.noEvenness()
	f.run(time.Minute)
	f.scale(4)
	f.resolveAll()
	changed := f.now
	f.run(20 * time.Second)
	for i, c := range f.channels {
		if len(c.conns) != 4 {
			t.Errorf("channel %d is on %d pods, want 4", i, len(c.conns))
		}
	}
	if n := len(f.sentAt); n != 40 {
		t.Fatalf("got %d GOAWAYs, want one for each of 40 channels", n)
	}
	if first := f.sentAt[0] - changed; first < proxyWait {
		t.Errorf("got the first GOAWAY after %v, want none before the proxies know the new pods", first)
	}
	if took := f.sentAt[39] - f.sentAt[0]; took >= comesBack {
		t.Errorf("got the last GOAWAY %v after the first, want the others as soon as the sample is back", took)
	}
}

// In this history an old pod was alone with new ones, of which none showed who was multi-homed,
// while the growth waited for clients that were resolving: evenness drained every channel.
func TestEvennessWaitsUntilClientsCanBeToldApart(t *testing.T) {
	f := newFleet(4, 16, 3)
	f.run(40 * time.Second)
	for _, s := range []struct {
		pods       int
		lag, pause time.Duration
	}{
		{1, 2 * time.Second, 102 * time.Second},
		{6, 20 * time.Second, 33 * time.Second},
		{1, 20 * time.Second, 0},
		{8, 19 * time.Second, 70 * time.Second},
	} {
		f.scaleTo(s.pods)
		f.run(s.lag)
		f.resolveAll()
		f.run(s.pause)
	}
	f.run(12 * time.Minute)
	f.wantOnAll(t)
	if n := f.goaways[reason.Even]; n > 0 {
		t.Errorf("got %d GOAWAYs for evenness, want none: all clients are multi-homed", n)
	}
}

// The last pod of a rolling update that is left to own keys asks the younger ones for its clients:
// single-homed ones are not there, and are not drained.
func TestOwnerAfterARolloutAsksYoungPods(t *testing.T) {
	s := &State{started: true}
	v := &View{
		Now: time.Hour, Self: "a", Members: []string{"a", "b", "c"}, Conns: []Conn{{ID: 1, Key: "k", Weight: 1}},
		Uptime: map[string]time.Duration{"a": 10 * time.Minute, "b": 5 * time.Minute, "c": 5 * time.Minute},
	}
	s.members.counted, s.members.removed = v.Members, v.Now-time.Minute
	s.growth = &growth{old: []string{"a"}, new: []string{"b", "c"}, round: 1, rollout: true}
	var st Step
	s.startCount(v, &Policy{}, &st)
	if got := s.growth.inquiry.witness; len(got) != 1 || got[0] == "" {
		t.Errorf("got witnesses %q, want one of the younger pods", got)
	}
}

// Where one address shows that there are single-homed clients, another one of which both pods
// hold as many is doubtful as well.
func TestEqualNumbersMayBeChance(t *testing.T) {
	for _, tc := range []struct {
		elsewhere int // connections of the second address on the other pod
		waits     bool
	}{{6, false}, {3, true}} {
		g := &growth{round: 1, opened: time.Minute, changedAt: time.Minute, new: []string{"c"}}
		g.owners = newOwners([]string{"a", "b"})
		g.witnesses = g.owners
		g.inquiry = inquiry{
			keys: []string{"k", "l"}, witness: []string{"b", "b"},
			counts: map[string]map[string]int{"b": {"k": 6, "l": tc.elsewhere}, "c": {}},
		}
		var conns []*Conn
		for i := range 12 {
			key := "k"
			if i >= 6 {
				key = "l"
			}
			conns = append(conns, &Conn{ID: uint64(i + 1), Key: key, Weight: 1})
		}
		g.doubtful = g.differ(conns)
		queue := g.appendMissing(nil, conns[:6], &View{Now: time.Minute + time.Second}, &Policy{})
		if waits := len(queue) == 0; waits != tc.waits {
			t.Errorf("%d on the other pod: got %d connections to drain before the proxies know the new pods, want it to wait: %v", tc.elsewhere, len(queue), tc.waits)
		}
	}
}

// Without a growth of its own a pod knows only by time that clients are on all pods: one of
// another pod may have waited for the end of a rollout.
func TestReachedByTime(t *testing.T) {
	s := &State{}
	s.members.begunAt = time.Hour
	for after, want := range map[time.Duration]bool{longServing: false, establishedAt: true} {
		if got := s.reached(&View{Now: time.Hour + after}); got != want {
			t.Errorf("%v after the last change: got %v, want %v", after, got, want)
		}
	}
}
