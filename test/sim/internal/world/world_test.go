package world

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func newWorld(cfg Config) *World {
	cfg.Policy = DefaultPolicy(cfg.Requests)
	return New(cfg)
}

func singleHomedWorld(seed uint64, pods, clients int) *World {
	return newWorld(Config{Seed: seed, Pods: pods, Groups: []Group{{Count: clients, Kind: ClusterIP}}})
}

// planNothing drains nothing, so that a test sees what clients do by themselves.
func planNothing(s plan.State, _ *plan.View, _ *plan.Policy) (plan.State, plan.Step) {
	return s, plan.Step{Verdict: plan.Balanced}
}

func TestHeapPopsInOrder(t *testing.T) {
	w := singleHomedWorld(1, 1, 1)
	var h heap
	for i := range int32(2000) {
		h.push(event{at: time.Duration(w.rng.IntN(50)), a: i})
	}
	last := event{at: -1}
	for range 2000 {
		e := h.pop()
		if e.at < last.at || e.at == last.at && e.a < last.a {
			t.Fatalf("popped event %d at %v after event %d at %v", e.a, e.at, last.a, last.at)
		}
		last = e
	}
}

// The policy must be the one that rebalance gives to planning by default.
func TestDefaultPolicyMatchesConfig(t *testing.T) {
	r := config.Default().Rebalance
	p := DefaultPolicy(false)
	want := plan.Policy{
		Enabled: r.Enabled, Settle: r.Settle, Spread: r.Spread, Cooldown: r.Cooldown,
		MaxPerSecond: r.MaxPerSecond, MaxFractionPerMinute: r.MaxFractionPerMinute,
		CheckAfter: plan.DefaultCheckAfter, MaxRounds: plan.DefaultMaxRounds,
		Tolerance: r.Tolerance, Floor: r.Floor, Whole: true,
	}
	if p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
}

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

// The gate opens after the third full answer in a row.
func TestGateNeedsThreeFullAnswers(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 2}}})
	w.RunTo(10 * time.Second)
	p := w.pods[0]
	p.stopping = true // so that it no longer plans
	p.gate = gate{set: p.gate.set}
	v := plan.View{Members: w.authoritative().ids}
	w.lookAtDNS(p, &v, true)
	w.RunTo(10*time.Second + 500*time.Millisecond)
	if p.gate.open {
		t.Error("the gate is open after two answers")
	}
	w.RunTo(10*time.Second + 600*time.Millisecond)
	if !p.gate.open {
		t.Error("the gate is closed after three full answers")
	}
	w.lookAtDNS(p, &plan.View{Members: []string{v.Members[0], "zzz"}}, true)
	w.RunTo(20 * time.Second)
	if p.gate.open {
		t.Error("the gate is open although DNS lacks a member")
	}
}

func TestReportsGetLost(t *testing.T) {
	for _, loss := range []float64{0, 0.5, 1} {
		expected, fresh := 0, 0
		next := func(s plan.State, v *plan.View, _ *plan.Policy) (plan.State, plan.Step) {
			for _, peer := range v.Peers {
				if expected++; peer.Age < time.Second {
					fresh++
				}
			}
			expected += len(v.Members) - 1 - len(v.Peers)
			return s, plan.Step{}
		}
		w := newWorld(Config{Pods: 6, Next: next, Groups: []Group{{Count: 6}}, Net: Net{ReportLoss: loss}})
		w.RunTo(10 * time.Minute)
		if got := float64(fresh) / float64(expected); math.Abs(got-(1-loss)) > 0.05 {
			t.Errorf("loss %v: got %.2f of the reports, want %.2f", loss, got, 1-loss)
		}
	}
}

func TestManyPodsPollAHandful(t *testing.T) {
	w := newWorld(Config{Pods: 60, Next: planNothing, Groups: []Group{{Count: 60, Kind: ClusterIP}}})
	w.RunTo(time.Minute)
	w.Measure()
	w.RunTo(3 * time.Minute)
	// A pod polls the 59 others in 8 seconds: eight in each of seven, three in the last.
	if got := w.Result().Bytes / bytesPerPoll; got < 14 || got > 16 {
		t.Errorf("got %.1f polls sent and answered per second and pod, want about 15", got)
	}
	for i, r := range w.pods[0].reports {
		if i != 0 && r.at == 0 {
			t.Errorf("pod %d was never polled", i)
		}
	}
}

// Planning must not modify a View, since its connections are the world's own.
func TestPlanningDoesNotModifyTheView(t *testing.T) {
	seen := 0
	next := func(s plan.State, v *plan.View, p *plan.Policy) (plan.State, plan.Step) {
		before := *v
		before.Conns, before.Peers, before.Members = slices.Clone(v.Conns), slices.Clone(v.Peers), slices.Clone(v.Members)
		s, step := plan.Next(s, v, p)
		if !slices.Equal(before.Conns, v.Conns) || !slices.Equal(before.Peers, v.Peers) || !slices.Equal(before.Members, v.Members) {
			t.Fatal("plan.Next modified its View")
		}
		seen += len(v.Conns)
		return s, step
	}
	w := newWorld(Config{Pods: 2, Next: next, Groups: []Group{{Count: 50}, {Count: 50, Kind: ClusterIP}}})
	w.RunTo(time.Minute)
	w.Scale(5)
	w.RunTo(5 * time.Minute)
	if seen == 0 {
		t.Error("no View had connections")
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

// check compares the world's indexes with each other. The world must be at rest.
func (w *World) check(t *testing.T) {
	t.Helper()
	for i := range w.clients {
		c := &w.clients[i]
		if w.cfg.Groups[c.group].Kind != RoundRobin {
			if c.conn < 0 || w.pods[w.conns[c.conn].pod].dead {
				t.Errorf("client %d of group %d has no connection", i, c.group)
			}
			continue
		}
		for _, a := range w.channels[c.channel] {
			if !w.pods[a.pod].dead && (a.conn < 0 || w.conns[a.conn].pod != a.pod) {
				t.Errorf("channel %d of group %d has no connection to pod %d", i, c.group, a.pod)
			}
		}
	}
	for _, p := range w.pods {
		w.checkPod(t, p)
	}
}

func (w *World) checkPod(t *testing.T, p *pod) {
	t.Helper()
	serving := 0
	for i := range p.infos {
		slot := slotOf(p.infos[i].ID)
		if c := &w.conns[slot]; c.pos != int32(i) || c.pod != p.idx || idOf(c.serial, slot) != p.infos[i].ID {
			t.Errorf("pod %d: connection %d does not match its slot", p.idx, i)
		}
		if !p.infos[i].Draining {
			serving++
		}
	}
	if serving != p.serving {
		t.Errorf("pod %d: serving is %d, want %d", p.idx, p.serving, serving)
	}
	for key := range w.keys {
		serving, draining := w.countKey(p, int32(key))
		if k := p.keys[int32(key)]; k != nil && (k.serving != serving || k.draining != draining) {
			t.Errorf("pod %d, key %d: got %d serving and %d draining, want %d and %d", p.idx, key, k.serving, k.draining, serving, draining)
		}
	}
}

func TestSameSeedSameWorld(t *testing.T) {
	run := func(seed uint64) *Result {
		w := newWorld(Config{Seed: seed, Pods: 3, Series: true, Net: Net{ReportLoss: 0.3, Caches: 2, CacheTTL: time.Minute}, Groups: []Group{
			{Count: 60},
			{Count: 60, Kind: ClusterIP},
			{Count: 20, Kind: PickFirst, IdleShare: 0.5, IdleMean: 5 * time.Second},
		}})
		w.RunTo(time.Minute)
		w.Measure()
		w.Scale(7)
		w.RunTo(4 * time.Minute)
		w.Roll(10 * time.Second)
		w.RunTo(10 * time.Minute)
		r := w.Result()
		return r
	}
	a, b := run(7), run(7)
	if !reflect.DeepEqual(a, b) {
		t.Error("two runs with the same seed differ")
	}
	if len(a.GoAways) == 0 {
		t.Error("got no GOAWAYs")
	}
	if reflect.DeepEqual(a, run(8)) {
		t.Error("two seeds give the same result")
	}
}

func TestMeasures(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 30, Kind: ClusterIP}}})
	w.RunTo(time.Minute)
	w.Measure()
	w.MarkAt(2 * time.Minute)
	w.Scale(6) // 15 15 0 0 0 0: max/mean is 3.0
	w.RunTo(3 * time.Minute)
	r := w.Result()
	if r.Even >= 0 || r.FirstEven >= 0 {
		t.Errorf("got even after %v, first after %v, want never", r.Even, r.FirstEven)
	}
	if r.Above < 110*time.Second || r.Above > 120*time.Second {
		t.Errorf("got %v above twice the mean, want 110 s to 120 s", r.Above)
	}
	if r.Final.MaxOfMean != 3 || r.Marks[0].MaxOfMean != 3 || r.Final.MinOfMean != 0 || r.Final.OfBand() < 100 {
		t.Errorf("got final %+v and mark %+v, want a max/mean of 3 and a min/mean of 0", r.Final, r.Marks[0])
	}
	r.GoAways = nil
	for _, s := range []int{0, 10, 50, 69, 71, 200} {
		r.GoAways = append(r.GoAways, GoAway{At: time.Duration(s) * time.Second})
	}
	if got := r.MostIn(time.Minute); got != 3 {
		t.Errorf("got %d GOAWAYs within a minute, want 3: at 0, 10 and 50 s", got)
	}
	if got := r.After(70 * time.Second); got != 2 {
		t.Errorf("got %d GOAWAYs after 70 s, want 2", got)
	}
	if got := r.PerClient(-1); got != 0.2 {
		t.Errorf("got %v GOAWAYs per connection, want 6/30", got)
	}
}

func TestBand(t *testing.T) {
	for _, tc := range []struct {
		mean        float64
		whole       bool
		over, under float64
	}{{20, true, 22, 14}, {10, true, 11, 7}, {0.6, true, 1, 0.42}, {33.4, true, 37, 23.38}, {33.4, false, 36.74, 23.38}} {
		over, under := Band(tc.mean, tc.whole)
		if math.Abs(over-tc.over) > 1e-9 || math.Abs(under-tc.under) > 1e-9 {
			t.Errorf("mean %v: got the band %v to %v, want %v to %v", tc.mean, under, over, tc.under, tc.over)
		}
	}
}

func TestBuckets(t *testing.T) {
	for d := time.Duration(0); d < time.Second; d = d*21/20 + 1 {
		i := bucket(d)
		if d >= upTo(i) || i > 0 && d < upTo(i-1) {
			t.Fatalf("bucket %d from %v to %v contains %v", i, upTo(max(i-1, 0)), upTo(i), d)
		}
	}
}

func TestNoiseIsContinuousAndCentred(t *testing.T) {
	w := newWorld(Config{Pods: 2, Requests: true, Noise: 0.2, Next: planNothing, Groups: []Group{{Count: 100, Kind: ClusterIP}}})
	sum, most, last := 0.0, 0.0, 0.0
	for i := range 10_000 {
		w.RunTo(time.Duration(i) * time.Second)
		x := w.noise(3, 0)
		sum += x
		most = max(most, math.Abs(x))
		if i > 0 && math.Abs(x-last) > 2.0/30+1e-9 {
			t.Fatalf("the noise jumps from %v to %v within a second", last, x)
		}
		last = x
	}
	if math.Abs(sum/10_000) > 0.1 || most > 1 || most < 0.8 {
		t.Errorf("got a mean of %v and a maximum of %v, want about 0 and 0.8 to 1", sum/10_000, most)
	}
}
