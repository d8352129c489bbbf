package world

import (
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// A pod that crashes is back at the same address as a new process, with one loop of each kind.
func TestCrash(t *testing.T) {
	w := newWorld(Config{Pods: 3, Groups: []Group{{Count: 30}, {Count: 90, Kind: ClusterIP}}})
	w.RunTo(time.Minute)
	p, id := w.pods[2], w.pods[2].id
	w.Crash(2, 300*time.Millisecond) // the loops have not noticed when it is back
	w.RunTo(time.Minute + 1500*time.Millisecond)
	if loops := w.waitingEvents(evPoll, 2); loops != 1 {
		t.Errorf("the pod has %d loops of polls, want 1", loops)
	}
	w.Crash(2, 10*time.Second)
	w.RunTo(time.Minute + 8*time.Second)
	if !p.dead || len(p.infos) > 0 {
		t.Errorf("after the crash: dead is %v, with %d connections", p.dead, len(p.infos))
	}
	for i := range 2 {
		if members, _ := w.membersOf(w.pods[i]); len(members) != 2 {
			t.Errorf("pod %d sees the members %v, want 2", i, members)
		}
	}
	w.RunTo(5 * time.Minute)
	if p.dead || !p.ready || p.id != id || p.begun != Begin+71*time.Second+500*time.Millisecond {
		t.Errorf("the pod is not back: dead %v, ready %v, ID %s, begun %v", p.dead, p.ready, p.id, p.begun)
	}
	w.check(t)
	if s := w.distribution(); s.Pods != 2 {
		t.Errorf("%d pods count for evenness, want 2", s.Pods)
	}
}

// waitingEvents is the number of events of a kind that wait for a.
func (w *World) waitingEvents(k kind, a int32) (n int) {
	for i := range w.events.all {
		if e := &w.events.all[i]; e.kind == k && e.a == a {
			n++
		}
	}
	return n
}

func TestReadinessFlips(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 20, Kind: ClusterIP}}})
	w.SetReady(1, false)
	w.RunTo(10 * time.Second)
	if p := w.pods[1]; p.serving != 10 || !p.accepts() {
		t.Errorf("an unready pod has %d connections (accepts others: %v), want its 10", p.serving, p.accepts())
	}
	for i := range w.proxies {
		if v := w.versions[w.proxies[i]]; v.has(1) {
			t.Errorf("node %d still sends clients to an unready pod", i)
		}
	}
	w.SetReady(1, true)
	w.RunTo(20 * time.Second)
	if members, _ := w.membersOf(w.pods[0]); len(members) != 2 {
		t.Errorf("got the members %v, want both", members)
	}
}

func TestRollInPlace(t *testing.T) {
	w := newWorld(Config{Pods: 4, Next: planNothing, Groups: []Group{{Count: 20}, {Count: 40, Kind: ClusterIP}}})
	end := w.RollInPlace(40*time.Second, 5*time.Second)
	if end != 160*time.Second {
		t.Errorf("the rollout ends at %v, want 160 s", end)
	}
	w.RunTo(end + time.Minute)
	w.check(t)
	if len(w.pods) != 4 {
		t.Errorf("got %d pods, want the same 4", len(w.pods))
	}
	for i, p := range w.pods { // the youngest first
		if want := Begin + time.Duration(3-i)*40*time.Second + stopTakes; p.begun != want || !p.ready {
			t.Errorf("pod %d began at %v (ready: %v), want %v", i, p.begun, p.ready, want)
		}
	}
}

func TestRollBatches(t *testing.T) {
	w := newWorld(Config{Pods: 5, Next: planNothing, Groups: []Group{{Count: 20}}})
	end := w.RollBatches(20*time.Second, 2)
	w.RunTo(end + 30*time.Second)
	w.check(t)
	if alive := w.Alive(); end != time.Minute || len(alive) != 5 || alive[0] != 5 {
		t.Errorf("after %v the pods %v are alive, want 5 new ones after 1 min", end, alive)
	}
}

func TestBlind(t *testing.T) {
	w := newWorld(Config{Pods: 2, Groups: []Group{{Count: 20}}})
	w.RunTo(10 * time.Second)
	w.Blind(30 * time.Second)
	w.RunTo(20 * time.Second)
	if got := w.pods[0].verdict; got != plan.Stale {
		t.Errorf("got the verdict %s without a view, want stale", got)
	}
	w.RunTo(45 * time.Second)
	if got := w.pods[0].verdict; got == plan.Stale {
		t.Errorf("the verdict is %s although the view is back", got)
	}
}

func TestPartialAnswers(t *testing.T) {
	w := newWorld(Config{Pods: 5, Next: planNothing, Groups: []Group{{Count: 1}}, Net: Net{Partial: 3}})
	seen := map[int32]int{}
	for range 500 {
		v := w.lookup(0)
		if len(v.pods) != 3 || len(v.ids) != 3 || v.pods[0] >= v.pods[1] || v.pods[1] >= v.pods[2] {
			t.Fatalf("got %v, want 3 pods in order", v.pods)
		}
		for _, p := range v.pods {
			seen[p]++
		}
	}
	for p := range int32(5) {
		if seen[p] < 240 || seen[p] > 360 {
			t.Errorf("pod %d is in %d of 500 answers, want about 300", p, seen[p])
		}
	}
	w.cfg.Net = Net{Split: 2}
	full := 0
	for range 500 {
		if v := w.lookup(0); len(v.pods) == 5 {
			full++
		} else if len(v.pods) != 3 || v.has(3) || v.has(4) {
			t.Fatalf("got %v, want all pods or all but the youngest two", v.pods)
		}
	}
	if full < 200 || full > 300 {
		t.Errorf("%d of 500 answers are full, want about half", full)
	}
}

// A pod with another salt hashes the same client to another key, and knows nobody else's.
func TestSalts(t *testing.T) {
	w := newWorld(Config{Pods: 2, Salt: func(i int) int { return i }, Groups: []Group{{Count: 1}}})
	a, b := w.pods[0].infos[0].Key, w.pods[1].infos[0].Key
	if a == b || w.keyNumber(a) != w.keyNumber(b) {
		t.Errorf("got the keys %q and %q, want different ones of the same client", a, b)
	}
	w.RunTo(10 * time.Second)
	q := &plan.Query{ID: 9, Keys: map[string][]string{w.pods[1].id: {a}}}
	w.sendQuery(w.pods[0], q)
	w.answersArrive(w.pods[0], 9)
	if n := w.pods[0].counts.ByPod[w.pods[1].id][a]; n != 0 {
		t.Errorf("the other pod counts %d connections of an unknown key, want 0", n)
	}
}

func TestOverloaded(t *testing.T) {
	w := newWorld(Config{Pods: 1, Limit: 20, Next: planNothing, Groups: []Group{{Count: 1}}})
	p := w.pods[0]
	for _, tc := range []struct {
		serving int
		want    bool
	}{{20, false}, {21, true}, {19, true}, {18, false}, {20, false}} {
		p.serving = tc.serving
		if got := w.overloaded(p) != ""; got != tc.want {
			t.Errorf("%d connections with a limit of 20: overloaded is %v, want %v", tc.serving, got, tc.want)
		}
	}
}

func TestAttractionAndArrivals(t *testing.T) {
	w := newWorld(Config{
		Pods: 3, Next: planNothing, Attract: func(i int) float64 { return float64(i) },
		Groups: []Group{{Count: 300, Kind: ClusterIP, Random: true}},
	})
	for i, want := range []int{0, 100, 200} {
		if got := w.pods[i].serving; got < want-30 || got > want+30 {
			t.Errorf("pod %d has %d connections, want about %d", i, got, want)
		}
	}
	w.RunTo(10 * time.Second)
	w.Measure()
	w.Kill(2)
	w.RunTo(20 * time.Second)
	if got := w.Result().Arrivals; got < 60 {
		t.Errorf("a pod accepted %d connections within a second, want most of 200", got)
	}
}

func TestConnectionsOfAnUnlistedPod(t *testing.T) {
	w := newWorld(Config{Pods: 3, Next: planNothing, Groups: []Group{{Count: 30, Kind: ClusterIP, LongShare: 1, LongFor: time.Second}}})
	w.SetReady(2, false)
	w.RunTo(time.Minute)
	r := w.Result()
	if r.Unlisted != 10 || len(r.Verdicts) != 2 || r.Verdicts[0].Streams != 10 {
		t.Errorf("got %d connections of unlisted pods and the verdicts %v, want 10, and 2 pods with 10 streams each", r.Unlisted, r.Verdicts)
	}
}

func TestPlainPodsAndFalseReports(t *testing.T) {
	w := newWorld(Config{
		Pods: 3, Groups: []Group{{Count: 30, Kind: ClusterIP}}, Plain: func(i int) bool { return i == 0 },
		Report: func(i int, r *peerview.Summary) {
			if i == 1 {
				r.Load = 77
			}
		},
	})
	w.RunTo(10 * time.Second)
	p := w.pods[2]
	if p.reports[0].At != 0 || w.pods[0].verdict != "" {
		t.Error("a pod without evenkeel reports or plans")
	}
	if got := p.reports[1].Load; got != 77 {
		t.Errorf("got a report of %v, want 77", got)
	}
	if r := w.Result(); len(r.Verdicts) != 2 {
		t.Errorf("got %d verdicts, want 2", len(r.Verdicts))
	}
}

// Pods that read the membership from DNS see only what its latest answer has.
func TestPodsSeePartialAnswers(t *testing.T) {
	w := newWorld(Config{Pods: 5, Next: planNothing, Net: Net{Partial: 3, ViewEvery: time.Second}})
	p := w.pods[0]
	views := map[string]bool{}
	for i := range 60 {
		w.RunTo(time.Duration(5+i) * time.Second)
		members, stale := w.membersOf(p)
		if stale != "" {
			continue // the answer lacks this pod
		}
		if len(members) != 3 {
			t.Fatalf("pod 0 sees %d pods, want 3", len(members))
		}
		views[strings.Join(members, " ")] = true
	}
	if len(views) < 4 { // of 6 with pod 0
		t.Errorf("pod 0 saw %d different memberships in a minute, want most of 6", len(views))
	}
}
