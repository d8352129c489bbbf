package world

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// viewer plans nothing and keeps the latest View of each pod.
func viewer(views map[string]plan.View) func(plan.State, *plan.View, *plan.Policy) (plan.State, plan.Step) {
	return func(s plan.State, v *plan.View, _ *plan.Policy) (plan.State, plan.Step) {
		kept := *v
		kept.Members, kept.Peers = slices.Clone(v.Members), slices.Clone(v.Peers)
		views[v.Self] = kept
		return s, plan.Step{Verdict: plan.Balanced}
	}
}

func TestSharesAndWarmup(t *testing.T) {
	views := map[string]plan.View{}
	w := newWorld(Config{
		Pods: 2, Next: viewer(views), Warmup: time.Minute, Share: func(i int) float64 { return float64(1 + i) },
		Groups: []Group{{Count: 30, Kind: ClusterIP}},
	})
	w.RunTo(10 * time.Second)
	w.Start()
	w.RunTo(43 * time.Second)
	young := views[w.pods[2].id]
	if young.Warm < 0.4 || young.Warm > 0.6 || young.Share != 3*young.Warm {
		t.Errorf("after half a minute the new pod is warm by %v and has the share %v", young.Warm, young.Share)
	}
	old := views[w.pods[0].id]
	if old.Warm != 1 || old.Share != 1 {
		t.Errorf("an old pod is warm by %v and has the share %v", old.Warm, old.Share)
	}
	if peers := old.Peers; len(peers) != 2 || peers[0].Share != 2 || math.Abs(peers[1].Warm-young.Warm) > 0.05 || peers[1].Share < 3*0.35 {
		t.Errorf("the others report %+v", peers)
	}
	// 15, 15 and 0 connections on shares of 1, 2 and 1.5.
	if d := w.distribution(); math.Abs(d.MaxOfMean-15/(30/4.5)) > 0.2 || d.MinOfMean != 0 || d.Outside < 1 {
		t.Errorf("the loads in proportion to the shares: %+v", d)
	}
}

func TestPodOutOfTheService(t *testing.T) {
	views := map[string]plan.View{}
	w := newWorld(Config{Pods: 3, Next: viewer(views), Groups: []Group{{Count: 30, Kind: ClusterIP}}})
	w.RunTo(10 * time.Second)
	w.Measure()
	w.SetReady(2, false)
	w.RunTo(20 * time.Second)
	out, other := views[w.pods[2].id], views[w.pods[0].id]
	if out.Out == "" || out.Stale != "" || out.OutPods != 1 || len(out.Members) != 2 || slices.Contains(out.Members, out.Self) || len(out.Peers) != 2 {
		t.Errorf("the pod that is out sees %+v", out)
	}
	if other.Out != "" || other.OutPods != 1 || len(other.Members) != 2 {
		t.Errorf("another pod sees %+v", other)
	}
	if r := w.Result(); r.Gone >= 0 || len(r.Outs) != 1 || r.Unlisted != 10 {
		t.Errorf("got %d pods that are out, gone after %v, %d connections left", len(r.Outs), r.Gone, r.Unlisted)
	}
	for len(w.pods[2].infos) > 0 {
		w.closeIf(slotOf(w.pods[2].infos[0].ID), w.conns[slotOf(w.pods[2].infos[0].ID)].serial)
	}
	w.RunTo(25 * time.Second)
	if r := w.Result(); r.Gone < 9*time.Second || r.Gone > 12*time.Second {
		t.Errorf("the connections were gone after %v, want about 10 s", r.Gone)
	}
	w.SetReady(2, true)
	w.RunTo(30 * time.Second)
	if back := views[w.pods[2].id]; back.Out != "" || back.OutPods != 0 || len(back.Members) != 3 {
		t.Errorf("the pod that is back sees %+v", back)
	}
}

// One answer of DNS without a pod does not put the pod out.
func TestPodThatDNSLacksByChanceIsNotOut(t *testing.T) {
	w := newWorld(Config{Pods: 3, Next: planNothing, Net: Net{ViewEvery: time.Second, Partial: 2}, Groups: []Group{{Count: 3, Kind: ClusterIP}}})
	w.RunTo(5 * time.Minute)
	if w.outPods != 0 {
		t.Errorf("%d pods are out", w.outPods)
	}
	w.cfg.Net.Partial = 0
	w.SetReady(2, false)
	w.RunTo(6 * time.Minute)
	if !w.pods[2].out {
		t.Error("a pod that DNS has lacked for a minute is not out")
	}
}

func TestStartingAndTerminatingPods(t *testing.T) {
	views := map[string]plan.View{}
	w := newWorld(Config{Pods: 2, Next: viewer(views), Zones: 2, Groups: []Group{{Count: 4, Kind: ClusterIP}}})
	w.RunTo(10 * time.Second)
	w.StartIn(20 * time.Second)
	w.RunTo(15 * time.Second)
	first := w.pods[0].id
	if v := views[first]; !v.StartingKnown || v.Starting != 1 || v.Terminating != 0 || v.Zones[first] != "zone-1" || v.Zones[w.pods[1].id] != "zone-2" {
		t.Errorf("while a pod starts: %+v", v)
	}
	w.RunTo(40 * time.Second)
	w.Stop(2)
	w.RunTo(43 * time.Second)
	if v := views[first]; v.Starting != 0 || v.Terminating != 1 {
		t.Errorf("while a pod stops: %+v", v)
	}
	w.RunTo(60 * time.Second)
	if v := views[first]; v.Terminating != 0 {
		t.Errorf("after a pod has gone: %+v", v)
	}
}

func TestHiddenStart(t *testing.T) {
	views := map[string]plan.View{}
	w := newWorld(Config{Pods: 2, Next: viewer(views), Net: Net{HidesStarting: true}, Groups: []Group{{Count: 4, Kind: ClusterIP}}})
	w.StartIn(20 * time.Second)
	w.RunTo(10 * time.Second)
	if v := views[w.pods[0].id]; v.StartingKnown || v.Starting != 0 {
		t.Errorf("got %+v", v)
	}
}

func TestOtherSaltsAreSeen(t *testing.T) {
	views := map[string]plan.View{}
	w := newWorld(Config{Pods: 2, Next: viewer(views), Salt: func(i int) int { return i }, Groups: []Group{{Count: 4, Kind: ClusterIP}}})
	w.RunTo(10 * time.Second)
	if peers := views[w.pods[0].id].Peers; len(peers) != 1 || !peers[0].OtherSalt {
		t.Errorf("got %+v", peers)
	}
	p := w.pods[0]
	w.sendQuery(p, &plan.Query{ID: 7, Keys: map[string][]string{w.pods[1].id: {w.keys[0]}}})
	w.RunTo(20 * time.Second)
	if p.counts == nil || len(p.counts.ByPod) != 0 {
		t.Errorf("the answer counts: %+v", p.counts)
	}
}

func TestFlights(t *testing.T) {
	views := map[string]plan.View{}
	w := newWorld(Config{Pods: 2, Next: viewer(views), Groups: []Group{{Count: 20, Kind: ClusterIP, LongShare: 1, LongFor: time.Minute, Lazy: true}}})
	w.RunTo(10 * time.Second)
	p := w.pods[0]
	for i := range 3 {
		w.drain(slotOf(p.infos[i].ID), Reasons[1])
		w.RunTo(w.Now() + 10*time.Second)
	}
	v := views[p.id]
	if f := v.InFlight; f.Connections != 3 || f.Connections != len(p.infos)-p.serving || f.Load != float64(f.Connections) || f.Streams != f.Connections || f.Oldest < 28*time.Second || f.Oldest > 30*time.Second {
		t.Errorf("in flight: %+v of %d", f, len(p.infos))
	}
	if peer := views[w.pods[1].id].Peers[0]; peer.InFlight != v.InFlight.Load {
		t.Errorf("the other pod hears of %v, want %v", peer.InFlight, v.InFlight.Load)
	}
	w.RunTo(3 * time.Minute)
	if f := views[p.id].InFlight; f != (plan.Flight{}) {
		t.Errorf("after all have landed: %+v", f)
	}
	w.check(t)
}

// Streams that are ended politely let their clients reconnect in time.
func TestStreamsEndPolitely(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, EndStreams: 20 * time.Second, Groups: []Group{
		{Count: 2, Kind: ClusterIP, LongShare: 1, LongFor: time.Hour, Lazy: true},
	}})
	w.RunTo(10 * time.Second)
	first := w.clients[0].conn
	w.drain(first, Reasons[1])
	w.RunTo(27 * time.Second)
	if w.clients[0].conn != first {
		t.Error("the client reconnected before its stream ended")
	}
	w.RunTo(31 * time.Second)
	if c := w.clients[0].conn; c < 0 || w.info(&w.conns[c]).Draining || w.info(&w.conns[c]).Streams != 1 {
		t.Error("the client has no new stream")
	}
}

// A channel keeps to its subset, and a change of the pods changes as much of it as it must.
func TestSubsets(t *testing.T) {
	w := newWorld(Config{Pods: 10, Next: planNothing, Groups: []Group{{Count: 300, Subset: 3}}})
	perPod := make([]int, 12)
	before := make([][]int32, 300)
	for i := range int32(300) {
		before[i] = w.subset(i, w.versions[0]).pods
		if got := len(w.channels[i]); got != 3 || len(before[i]) != 3 {
			t.Fatalf("channel %d has %d addresses", i, got)
		}
	}
	w.Scale(12)
	w.RunTo(time.Minute)
	v := w.authoritative()
	changed := 0
	for i := range int32(300) {
		after := w.subset(i, v).pods
		for _, p := range after {
			perPod[p]++
		}
		lost := 0
		for _, p := range before[i] {
			if !slices.Contains(after, p) {
				lost++
			}
		}
		for _, p := range after {
			if p < 10 && !slices.Contains(before[i], p) {
				t.Fatalf("channel %d goes from %v to %v", i, before[i], after)
			}
		}
		if lost > 0 {
			changed++
		}
	}
	// 1 - (10*9*8)/(12*11*10) of the channels choose a new pod.
	if part := float64(changed) / 300; part < 0.36 || part > 0.55 {
		t.Errorf("%.2f of the channels change, want 0.45", part)
	}
	if least, most := slices.Min(perPod), slices.Max(perPod); least < 45 || most > 105 {
		t.Errorf("the channels per pod are %v, want about 75", perPod)
	}
	if r := w.Result(); r.Unreached != changed {
		t.Errorf("%d channels lack a pod of their subset, want %d", r.Unreached, changed)
	}
	w.drain(w.channels[0][0].conn, Reasons[0])
	w.RunTo(2 * time.Minute)
	if got := len(w.channels[0]); got != 3 || w.lacks(0) {
		t.Errorf("after a GOAWAY channel 0 has %d addresses, and lacks a pod: %v", got, w.lacks(0))
	}
	w.check(t)
}

func TestHangingHandlers(t *testing.T) {
	w := newWorld(Config{Pods: 2, Requests: true, Next: planNothing, Groups: []Group{{Count: 100, Kind: ClusterIP}}})
	w.RunTo(10 * time.Second)
	w.Hang(0)
	w.RunTo(3 * time.Minute)
	hung, other := w.pods[0], w.pods[1]
	if w.load(hung) > 0.05*w.load(other) || w.trueLoad(hung) < 0.9*w.trueLoad(other) {
		t.Errorf("the hung pod measures %v and is sent %v, the other %v and %v", w.load(hung), w.trueLoad(hung), w.load(other), w.trueLoad(other))
	}
	if hung.infos[0].Streams == 0 {
		t.Error("no stream is open on the hung pod")
	}
}

func TestTranscript(t *testing.T) {
	var lines []string
	w := newWorld(Config{Pods: 2, Groups: []Group{{Count: 20}}, Transcript: func(_ time.Duration, pod, what string) {
		lines = append(lines, pod+": "+what)
	}})
	w.RunTo(time.Minute)
	w.Scale(3)
	w.RunTo(2 * time.Minute)
	all := strings.Join(lines, "\n")
	for _, want := range []string{"2: is ready", "moving: ", "balanced: ", " (reach), has "} {
		if !strings.Contains(all, want) {
			t.Errorf("the transcript lacks %q:\n%s", want, all)
		}
	}
}

func TestClientsDrainedTwice(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 20, Kind: ClusterIP}}})
	w.RunTo(time.Second)
	w.Measure()
	for range 2 {
		c := &w.conns[w.clients[3].conn]
		w.drainPlanned(w.pods[c.pod], &plan.Drain{ID: w.info(c).ID, Reason: Reasons[1]})
		w.RunTo(w.Now() + time.Minute)
	}
	if r := w.Result(); r.Twice != 1 || len(r.GoAways) != 2 || r.From(0) != 2 || r.From(2) != 0 {
		t.Errorf("%d clients were drained twice, %d GOAWAYs", r.Twice, len(r.GoAways))
	}
}
