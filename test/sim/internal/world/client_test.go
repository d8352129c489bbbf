package world

import (
	"math"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// The mean of max/mean must match the theory of random placement.
func TestRandomPlacement(t *testing.T) {
	for _, tc := range []struct {
		clients, pods, worlds int
		want                  float64
	}{{30, 3, 1000, 1.27}, {100, 10, 1000, 1.51}, {1000, 10, 300, 1.16}, {10_000, 50, 40, 1.16}} {
		sum := 0.0
		for seed := range uint64(tc.worlds) {
			w := newWorld(Config{Seed: seed, Pods: tc.pods, Groups: []Group{{Count: tc.clients, Kind: ClusterIP, Random: true}}})
			s := w.distribution()
			sum += s.MaxOfMean
		}
		if got := sum / float64(tc.worlds); math.Abs(got-tc.want) > 0.015 {
			t.Errorf("%d clients on %d pods: got a max/mean of %.3f, want %.2f", tc.clients, tc.pods, got, tc.want)
		}
	}
}

func TestEvenPlacement(t *testing.T) {
	w := singleHomedWorld(1, 3, 300)
	for _, p := range w.pods {
		if p.serving != 100 {
			t.Errorf("pod %s has %d of 300 connections, want 100", p.id, p.serving)
		}
	}
	w = newWorld(Config{Pods: 4, Requests: true, Groups: []Group{{Count: 400, Kind: ClusterIP, Zipf: 0.75}}})
	if s := w.distribution(); s.MaxOfMean > 1.01 {
		t.Errorf("Zipf: got a max/mean of %.3f, want at most 1.01", s.MaxOfMean)
	}
}

// A resolver resolves again after a GOAWAY, but not within 30 s of the last time. Then it
// resolves when they are over, or never (Java).
func TestResolversWaitBetweenResolutions(t *testing.T) {
	for _, tc := range []struct {
		name     string
		resolver Resolver
		since    time.Duration // the last resolution
		want     time.Duration // until the next one; negative: never
	}{
		{"at once", Delays, 31 * time.Second, 0},
		{"delays", Delays, 10 * time.Second, 20 * time.Second},
		{"Java at once", Drops, 31 * time.Second, 0},
		{"Java drops", Drops, 10 * time.Second, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 1, Resolver: tc.resolver}}})
			w.RunTo(time.Minute)
			begin := w.now
			w.clients[0].resolved = begin - tc.since
			w.drain(w.channels[0][0].conn, reason.Reach)
			w.RunTo(3 * time.Minute)
			got := w.clients[0].resolved - begin
			if tc.want < 0 {
				if got >= 0 {
					t.Errorf("resolved after %v, want never", got)
				}
				return
			}
			if got < tc.want || got > tc.want+10*time.Millisecond {
				t.Errorf("resolved after %v, want %v", got, tc.want)
			}
			if conn := w.channels[0][0].conn; conn < 0 || w.info(&w.conns[conn]).Opened > begin+50*time.Millisecond {
				t.Error("the client did not dial the same address again at once")
			}
		})
	}
}

func TestRoundRobinFollowsDNS(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 10}}})
	w.Scale(5)
	w.RunTo(time.Minute)
	if n := len(w.channels[0]); n != 2 {
		t.Fatalf("got %d addresses before any GOAWAY, want 2", n)
	}
	for i := range w.channels {
		w.drain(w.channels[i][0].conn, reason.Reach)
	}
	w.RunTo(2 * time.Minute)
	for _, p := range w.pods {
		if p.serving != 10 {
			t.Errorf("pod %s has %d connections, want one from each of 10 channels", p.id, p.serving)
		}
	}
	w.Scale(1)
	w.RunTo(4 * time.Minute)
	for i := range w.channels {
		if len(w.channels[i]) != 1 {
			t.Errorf("channel %d has %d addresses, want 1", i, len(w.channels[i]))
		}
	}
	w.check(t)
}

// The answer of a cache is up to one TTL old.
func TestCachesAnswerFromThePast(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 10}}, Net: Net{Caches: 5, CacheTTL: time.Minute}})
	w.RunTo(10 * time.Second)
	w.Scale(3)
	stale := 0
	for s := range 70 {
		w.RunTo(time.Duration(20+s) * time.Second)
		if len(w.authoritative().pods) != 3 {
			t.Fatal("the authoritative server is behind too")
		}
		for i := range int32(5) {
			if len(w.lookup(i).pods) < 3 {
				stale++
				if s > 60 {
					t.Errorf("cache %d is still behind after %d s", i, s)
				}
			}
		}
	}
	if stale < 30 {
		t.Errorf("got %d stale answers, want at least 30", stale)
	}
}

func TestClusterIPPicksPodsAtRandom(t *testing.T) {
	w := newWorld(Config{Pods: 3, Next: planNothing, Groups: []Group{{Count: 3000, Kind: ClusterIP}}})
	w.Scale(4)
	w.RunTo(time.Minute)
	for i := range w.clients {
		w.drain(w.clients[i].conn, reason.Even)
	}
	w.RunTo(2 * time.Minute)
	for _, p := range w.pods {
		if p.serving < 650 || p.serving > 850 {
			t.Errorf("pod %s has %d of 3,000 connections on 4 pods, want 650 to 850", p.id, p.serving)
		}
	}
	w.check(t)
}

func TestClientsWithAffinityComeBack(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 100, Kind: ClusterIP, Affinity: true}}})
	w.Scale(4)
	for i := range 3 {
		w.RunTo(time.Duration(i+1) * time.Minute)
		for i := range w.clients {
			w.drain(w.clients[i].conn, reason.Even)
		}
	}
	w.RunTo(10 * time.Minute)
	for i, want := range []int{50, 50, 0, 0} {
		if got := w.pods[i].serving; got != want {
			t.Errorf("pod %d has %d connections, want %d", i, got, want)
		}
	}
	for _, info := range w.pods[0].infos {
		if info.FutileDrains != 3 || !info.Returned {
			t.Fatalf("got %d futile drains and returned %v for a client that came back 3 times", info.FutileDrains, info.Returned)
		}
	}
	if got, want := w.pods[0].returns, (plan.Returns{Drained: 150, Returned: 150}); got != want {
		t.Errorf("got returns %+v, want %+v", got, want)
	}
}

// A client that stays away for 45 s counts as away, and draining it is not futile.
func TestClientsStayAway(t *testing.T) {
	w := newWorld(Config{Pods: 1, Next: planNothing, Groups: []Group{{Count: 20, Kind: ClusterIP, Keys: 1}}})
	w.Scale(2)
	w.RunTo(time.Minute)
	p := w.pods[0]
	for i := range w.clients {
		w.drain(w.clients[i].conn, reason.Even)
	}
	w.RunTo(time.Minute + 40*time.Second)
	if r := p.returns; r.Drained != 20 || r.Away != 0 || int(r.Returned) != p.serving {
		t.Errorf("before the return window ends: got %+v, and %d clients are back", r, p.serving)
	}
	w.RunTo(2 * time.Minute)
	if r := p.returns; int(r.Away) != 20-p.serving {
		t.Errorf("after the return window: got %+v, and %d clients are back", r, p.serving)
	}
	for _, info := range p.infos {
		if info.FutileDrains != 0 {
			t.Errorf("got %d futile drains although half of the clients stayed away, want 0", info.FutileDrains)
		}
	}
}

// A busy grpc-go client with pick_first reconnects to an address of its previous answer.
func TestPickFirstUsesItsPreviousAnswer(t *testing.T) {
	const clients = 400
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: clients, Kind: PickFirst, UsesOld: true}}})
	w.Scale(4)
	w.RunTo(time.Minute)
	drainAll := func() {
		for i := range w.clients {
			w.drain(w.clients[i].conn, reason.Even)
		}
	}
	drainAll()
	w.RunTo(2 * time.Minute)
	if n := w.pods[0].serving + w.pods[1].serving; n != clients {
		t.Errorf("after one GOAWAY %d of %d clients are on the old pods, want all", n, clients)
	}
	drainAll()
	w.RunTo(3 * time.Minute)
	if n := w.pods[2].serving + w.pods[3].serving; n < clients/2-60 || n > clients/2+60 {
		t.Errorf("after two GOAWAYs %d of %d clients are on the new pods, want about half", n, clients)
	}
}

// If DNS answers in a fixed order, all clients take the first pod unless they shuffle.
func TestPickFirstOrder(t *testing.T) {
	for _, shuffle := range []bool{false, true} {
		w := newWorld(Config{
			Pods: 4, Next: planNothing, Net: Net{FixedOrder: true},
			Groups: []Group{{Count: 400, Kind: PickFirst, Shuffle: shuffle}},
		})
		w.RunTo(time.Minute)
		for i := range w.clients {
			w.drain(w.clients[i].conn, reason.Even)
		}
		w.RunTo(2 * time.Minute)
		if first := w.pods[0].serving; (first == 400) == shuffle {
			t.Errorf("shuffle %v: got %d of 400 clients on the first pod", shuffle, first)
		}
	}
}

// A connection with a long stream keeps draining while its client is elsewhere already.
func TestLongStreamsKeepDraining(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 10, Kind: ClusterIP, LongShare: 1, LongFor: time.Hour}}})
	w.RunTo(time.Minute)
	slot := w.clients[0].conn
	w.drain(slot, reason.Even)
	w.RunTo(2 * time.Minute)
	if !w.info(&w.conns[slot]).Draining || w.clients[0].conn == slot || w.clients[0].conn < 0 {
		t.Errorf("got draining %v, and the client on connection %d after %d", w.info(&w.conns[slot]).Draining, w.clients[0].conn, slot)
	}
	w.RunTo(2 * time.Hour)
	w.check(t)
	if n := len(w.pods[0].infos) + len(w.pods[1].infos); n != 10 {
		t.Errorf("got %d connections at the end, want 10", n)
	}
}

// All kinds of clients and changes together: each client must still have its connections.
func TestNoClientIsLost(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(Config{Seed: seed, Pods: 4, Groups: []Group{
			{Count: 40},
			{Count: 40, Resolver: Drops},
			{Count: 40, Kind: ClusterIP, Keys: 3},
			{Count: 40, Kind: ClusterIP, Affinity: true},
			{Count: 40, Kind: PickFirst, UsesOld: true},
			{Count: 40, Kind: PickFirst, Shuffle: true, IdleShare: 0.5, IdleMean: 10 * time.Second, LongShare: 0.3, LongFor: time.Minute},
		}})
		for i, n := range []int{9, 3, 6, 1, 4} {
			w.RunTo(time.Duration(i+1) * 90 * time.Second)
			w.Scale(n)
		}
		w.RunTo(10 * time.Minute)
		w.Kill(w.Alive()[0])
		w.RunTo(11 * time.Minute)
		w.Roll(10 * time.Second)
		w.RunTo(30 * time.Minute)
		w.check(t)
	}
}
