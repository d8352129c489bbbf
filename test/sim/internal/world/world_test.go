package world

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/plan"
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

// The gate opens after the third full answer in a row.
func TestGateNeedsThreeFullAnswers(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 2}}})
	w.RunTo(10 * time.Second)
	p := w.pods[0]
	p.stopping = true // so that it no longer plans
	p.gate = gate{set: p.gate.set}
	v := plan.View{Members: w.authoritative().ids}
	w.lookAtDNS(p, &v, true)
	// The pods have just changed, so the lookups after a full answer are 20 ms apart.
	w.RunTo(10*time.Second + 40*time.Millisecond)
	if n := p.gate.FullInARow(); p.gate.Open() || n != 2 {
		t.Errorf("after two lookups, the gate is open: %v, with %d full answers", p.gate.Open(), n)
	}
	w.RunTo(10*time.Second + 45*time.Millisecond)
	if !p.gate.Open() {
		t.Error("the gate is closed after three full answers")
	}
	w.lookAtDNS(p, &plan.View{Members: []string{v.Members[0], "zzz"}}, true)
	w.RunTo(20 * time.Second)
	if p.gate.Open() {
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
		if i != 0 && r.At == 0 {
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
