package main

import (
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// autoscalers add and remove pods for days.
var autoscalers = []Scenario{
	autoscaler("hpa-2to3", 2, 3, 30*time.Minute, 48*time.Hour, 100),
	autoscaler("hpa-3to5", 3, 5, 10*time.Minute, 40*time.Hour, 300),
}

// autoscaler changes between few and many pods. Two minutes after they came, new pods must be
// inside the band.
func autoscaler(name string, few, many int, every, run time.Duration, clients int) Scenario {
	return Scenario{
		Name: name, Note: fmt.Sprintf("%d to %d to %d pods, %v each, for %v; %d single-homed; new pods are looked at 2 min after the change", few, many, few, every, run, clients),
		World: world.Config{Pods: few, Groups: []world.Group{singleHomed(clients)}, Sample: 10 * time.Second}, For: run,
		Change: func(w *world.World) { breathe(w, few, many, every, run) },
		Limits: append(insideOnBothDays(run), nobodyPinned),
	}
}

// breathe scales up and down again until run is over, and marks 2 min after each scale-up.
func breathe(w *world.World, few, many int, every, run time.Duration) {
	n := int(run / every)
	w.Every(w.Now(), every, n, func(i int) { w.Scale([]int{many, few}[i%2]) })
	for i := 0; i < n; i += 2 {
		w.MarkAt(w.Now() + time.Duration(i)*every + 2*time.Minute)
	}
}

// insideOnBothDays wants each new pod inside the band, on the first day as on the last.
func insideOnBothDays(run time.Duration) []Limit {
	const day = 24 * time.Hour
	return []Limit{
		{What: "new pods inside, day 1", Op: ">=", Value: 1, Of: youngInside(warm, warm+min(day, run))},
		{What: "new pods inside, last day", Op: ">=", Value: 1, Of: youngInside(warm+run-min(day, run), warm+run)},
	}
}

// youngInside is the share of marks at which all new pods are inside the band.
func youngInside(from, to time.Duration) func(*world.Result) float64 {
	return func(r *world.Result) float64 {
		inside, all := 0, 0
		for i := range r.Marks {
			if m := &r.Marks[i]; m.At >= from && m.At <= to {
				all++
				if m.Young > 0 && m.Young <= 1+1e-9 {
					inside++
				}
			}
		}
		return float64(inside) / float64(max(all, 1))
	}
}

// rollouts replace all pods, by new ones.
func rollouts() []Scenario {
	paces := []time.Duration{10 * time.Second, 40 * time.Second, 90 * time.Second, 3 * time.Minute}
	var all []Scenario
	for _, pods := range []int{3, 10, 50} {
		for _, every := range paces {
			all = append(all,
				rollout(fmt.Sprintf("roll-multi-%d-%s", pods, brief(every)), multiHomed(100), pods, every, 1, 0),
				rollout(fmt.Sprintf("roll-java-%d-%s", pods, brief(every)), dropping(100), pods, every, 1, 1))
		}
	}
	for _, every := range paces[1:] {
		dns := rollout("roll-dns-10-"+brief(every), multiHomed(100), 10, every, 1, 0)
		dns.World.Net.HidesStarting = true
		dns.Note += "; it is not known that the next one is starting"
		all = append(all, dns, lateStops("roll-late-10-"+brief(every), multiHomed(100), every))
	}
	all = append(all,
		rollout("roll-multi-batch", multiHomed(100), 10, 40*time.Second, 3, 0),
		rollout("roll-java-batch", dropping(100), 10, 40*time.Second, 3, 1))
	for _, every := range append(paces, 30*time.Second, 55*time.Second, 5*time.Minute) {
		all = append(all, rollout("roll-single-"+brief(every), singleHomed(600), 20, every, 1, 2))
	}
	return all
}

// brief writes 3m0s as 3min.
func brief(d time.Duration) string {
	switch {
	case d > 0 && d%time.Minute == 0:
		return fmt.Sprintf("%dmin", d/time.Minute)
	case d%time.Second > 0:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// dropping clients do not resolve again within 30 s, as grpc-java.
func dropping(n int) world.Group {
	g := multiHomed(n)
	g.Resolver = world.Drops
	return g
}

func rollout(name string, g world.Group, pods int, every time.Duration, batch int, limit float64) Scenario {
	return Scenario{
		Name: name, Note: fmt.Sprintf("a rolling update of %d pods: %d each %v", pods, batch, every),
		World: world.Config{Pods: pods, Groups: []world.Group{g}}, For: time.Duration((pods+batch-1)/batch)*every + 10*time.Minute,
		Change: func(w *world.World) { w.EvenFrom(w.RollBatches(every, batch)) },
		Limits: []Limit{costs(limit), allReached, evenIn(2 * time.Minute)},
	}
}

// lateStops is a rollout with minReadySeconds: a new pod is ready soon, and the old one stops much
// later. The first step looks like a growth, and reaching its pod costs 1 per channel.
func lateStops(name string, g world.Group, every time.Duration) Scenario {
	s := rollout(name, g, 10, every, 1, 1)
	s.Note += "; a new pod is ready after 3 s, the old one stops at the end of its time"
	s.Change = func(w *world.World) {
		old := w.Alive()
		for i, pod := range old {
			at := w.Now() + time.Duration(i)*every
			w.At(at, func() { w.StartIn(3 * time.Second) })
			w.At(at+every, func() { w.Stop(pod) })
		}
		w.EvenFrom(w.Now() + time.Duration(len(old))*every)
	}
	return s
}

// inPlaces replace the pods of a StatefulSet.
func inPlaces() []Scenario {
	var all []Scenario
	for _, every := range []time.Duration{40 * time.Second, 90 * time.Second, 3 * time.Minute} {
		all = append(all,
			inPlace("stateful-multi-"+brief(every), multiHomed(100), every, 1),
			inPlace("stateful-single-"+brief(every), singleHomed(300), every, 2))
	}
	return all
}

func inPlace(name string, g world.Group, every time.Duration, limit float64) Scenario {
	return Scenario{
		Name: name, Note: fmt.Sprintf("a rolling update of a StatefulSet of 10 pods, one each %v: each is ready again at the same address after 35 s", every),
		World: world.Config{Pods: 10, Groups: []world.Group{g}}, For: 10*every + 10*time.Minute,
		Change: func(w *world.World) { w.EvenFrom(w.RollInPlace(every, 25*time.Second)) },
		Limits: []Limit{costs(limit), allReached, evenIn(2 * time.Minute)},
	}
}

// joins are growths whose pods do not come at once. They ask how soon the first drain may go out.
func joins() []Scenario {
	var all []Scenario
	for _, apart := range []time.Duration{0, 300 * time.Millisecond, 3 * time.Second, 10 * time.Second} {
		all = append(all,
			staggered("ready-"+brief(apart)+"-apart", apart, false, 1),
			staggered("ready-"+brief(apart)+"-apart-dns", apart, true, costOfUnknown(apart)))
	}
	return append(all,
		Scenario{
			Name: "addresses-0.7s-apart", Note: "2 to 5 pods, 100 round_robin channels; the pods get their addresses 0.7 s apart, and are ready 1.5 s after that",
			World: world.Config{Pods: 2, Groups: []world.Group{multiHomed(100)}, Sample: 50 * time.Millisecond}, For: 5 * time.Minute,
			Change: func(w *world.World) {
				w.Every(w.Now(), 700*time.Millisecond, 3, func(int) { w.StartIn(1500 * time.Millisecond) })
			},
			Limits: []Limit{costs(1), allReached},
		},
		Scenario{
			Name: "roll-0.8s-after", Note: "a rolling update of 5 pods, 100 round_robin channels: an old pod goes 0.8 s after a new one is ready, each 10 s",
			World: world.Config{Pods: 5, Groups: []world.Group{multiHomed(100)}}, For: 10 * time.Minute,
			Change: func(w *world.World) { w.EvenFrom(w.RollQuickly(10*time.Second, 800*time.Millisecond)) },
			Limits: []Limit{costs(1), allReached},
		})
}

// costOfUnknown is what a growth may cost where nobody knows that more pods are starting. Three
// pods that come further apart than rebalance.settle are up to three growths; but a channel that
// was drained resolves again 30 s later at the latest, and so learns of the last one by itself.
func costOfUnknown(apart time.Duration) float64 {
	if apart < 2*time.Second {
		return 1
	}
	return 2
}

func staggered(name string, apart time.Duration, hidden bool, limit float64) Scenario {
	s := Scenario{
		Name: name, Note: fmt.Sprintf("2 to 5 pods, 100 round_robin channels; the pods become ready %v apart; it is not known that they are starting: %v", apart, hidden),
		World: world.Config{Pods: 2, Groups: []world.Group{multiHomed(100)}, Net: world.Net{HidesStarting: hidden}, Sample: 50 * time.Millisecond}, For: 5 * time.Minute,
		Change: func(w *world.World) {
			ready := 1500 * time.Millisecond
			w.StartIn(ready)
			w.StartIn(ready + apart)
			w.StartIn(ready + 2*apart)
			w.EvenFrom(w.Now() + ready + 2*apart)
		},
		Limits: []Limit{costs(limit), allReached},
	}
	if !hidden {
		// Endpoints, DNS and the views of the pods take up to 1.6 s here; then the list must be
		// quiet for a moment, and the GOAWAYs of two owners go out 20 ms apart.
		s.Limits = append(s.Limits, Limit{What: "s to even", Op: "<=", Value: 3.5, Of: timeToEvenExact})
	}
	return s
}

// flaps are pods that come and go.
var flaps = []Scenario{
	{
		Name: "flap-6to12", Note: "6 to 12 pods, 300 single-homed, while the readiness of one flips each 20 s; evenness is that of the others",
		World:  world.Config{Pods: 6, Groups: []world.Group{singleHomed(300)}},
		Change: flapWhileGrowing, For: time.Hour,
		Limits: []Limit{
			{What: "s to even", Op: "<=", Value: 60, Of: timeToEvenFirst},
			{What: "min/mean after 55 min", Op: ">=", Value: 0.7, Of: leastOfMeanAt(0)},
			costs(1.1),
		},
	},
	crashing("crashloop-single", "one of 5 pods crashes each 5 min for 6 h, and is away for 1 min; 245 single-homed", singleHomed(245), 6*time.Hour, nobodyPinned, costs(2)),
	crashing("crashloop-multi", "one of 5 pods crashes each 5 min for 6 h, and is away for 1 min; 100 round_robin channels", multiHomed(100), 6*time.Hour, nobodyPinned, costs(2)),
	{
		Name: "flap-2", Note: "2 pods, 60 single-homed, the readiness of one flips each 30 s for 3 h",
		World: world.Config{Pods: 2, Groups: []world.Group{singleHomed(60)}}, For: 3 * time.Hour,
		Change: func(w *world.World) {
			w.Every(w.Now(), 30*time.Second, 360, func(i int) { w.SetReady(1, i%2 == 1) })
		},
		Limits: []Limit{costs(1)},
	},
}

func crashing(name, note string, g world.Group, run time.Duration, limits ...Limit) Scenario {
	return Scenario{
		Name: name, Note: note,
		World: world.Config{Pods: 5, Groups: []world.Group{g}, Sample: 10 * time.Second}, For: run,
		Change: func(w *world.World) {
			w.Every(w.Now(), 5*time.Minute, int(run/(5*time.Minute)), func(int) { w.Crash(4, time.Minute) })
		},
		Limits: limits,
	}
}

func flapWhileGrowing(w *world.World) {
	w.Every(w.Now(), 20*time.Second, 180, func(i int) { w.SetReady(5, i%2 == 1) })
	at := w.Now() + 2*time.Minute
	w.At(at, func() {
		for range 6 {
			w.Start()
		}
	})
	w.EvenFrom(at)
	w.MarkAt(at + 55*time.Minute)
}

// views are pods that cannot see all of the others, or cannot agree with them.
var views = append(blinds(),
	salted("salt-1of5", 1), salted("salt-2of5", 2),
	Scenario{
		Name: "dns-2of3", Note: "3 pods whose name answers with 2 of them by chance, to pods and clients; 50 channels and 60 single-homed, for 3 h",
		World: world.Config{Pods: 3, Net: world.Net{ViewEvery: time.Second, Partial: 2}, Groups: []world.Group{multiHomed(50), singleHomed(60)}},
		For:   3 * time.Hour, Limits: []Limit{costs(1)},
	},
	Scenario{
		Name: "dns-8of10", Note: "10 pods whose name answers with 8 of them by chance; 100 single-homed, for 1 h",
		World: world.Config{Pods: 10, Net: world.Net{ViewEvery: time.Second, Partial: 8}, Groups: []world.Group{singleHomed(100)}},
		For:   time.Hour, Limits: []Limit{none()},
	},
	split("dns-split-4to5", singleHomed(100)), split("dns-split-multi", multiHomed(100)),
	Scenario{
		Name: "plain-1of5", Note: "5 to 8 pods, 100 round_robin channels; one of the old pods serves without evenkeel",
		World:  world.Config{Pods: 5, Plain: func(i int) bool { return i == 0 }, Groups: []world.Group{multiHomed(100)}},
		Change: scaleTo(8), For: 30 * time.Minute,
		Limits: []Limit{allReached, costs(1)},
	},
	Scenario{
		Name: "verdicts", Note: "2 to 4 pods, 12 pinned clients, a cooldown of 10 min: how often the verdict of a pod changes in the first 10 min, as a rate",
		World:  world.Config{Pods: 2, Groups: []world.Group{{Name: "affinity", Count: 12, Kind: world.ClusterIP, Affinity: true}}},
		Policy: func(p *plan.Policy) { p.Cooldown = 10 * time.Minute },
		Change: scaleTo(4), For: 10 * time.Minute, Limits: []Limit{changesOfVerdict(60)},
	},
	Scenario{
		Name: "verdicts-at-rest", Note: "the same, from 1 h to 7 h after the change",
		World:  world.Config{Pods: 2, Groups: []world.Group{{Name: "affinity", Count: 12, Kind: world.ClusterIP, Affinity: true}}},
		Policy: func(p *plan.Policy) { p.Cooldown = 10 * time.Minute },
		Change: func(w *world.World) {
			w.Scale(4)
			w.At(w.Now()+time.Hour, w.JudgeFromNow)
		},
		For: 7 * time.Hour, Limits: []Limit{changesOfVerdict(1)},
	},
)

// blinds lose the view at several moments of a growth.
func blinds() []Scenario {
	var all []Scenario
	for _, at := range []time.Duration{0, 1, 3, 5, 7, 10, 20} {
		all = append(all, blind(at*time.Second))
	}
	return all
}

func changesOfVerdict(anHour float64) Limit {
	return Limit{What: "changes an hour", Op: "<=", Value: anHour, Of: verdictChanges}
}

// blind takes the view away from all pods, at some moment of a growth.
func blind(at time.Duration) Scenario {
	return Scenario{
		Name: "blind-at-" + brief(at), Note: fmt.Sprintf("2 to 4 pods, 100 round_robin channels; %v after the change no pod can read the membership for 1 min", at),
		World: world.Config{Pods: 2, Groups: []world.Group{multiHomed(100)}}, For: 15 * time.Minute,
		Change: func(w *world.World) {
			w.Scale(4)
			w.At(w.Now()+at, func() { w.Blind(time.Minute) })
			w.EvenFrom(w.Now() + at + time.Minute)
		},
		Limits: []Limit{allReached, evenIn(10 * time.Second), costs(1.05)},
	}
}

func salted(name string, n int) Scenario {
	return Scenario{
		Name: name, Note: fmt.Sprintf("5 to 8 pods, 100 round_robin channels; %d of the old pods have another salt", n),
		World:  world.Config{Pods: 5, Salt: func(i int) int { return b2i(i < n) }, Groups: []world.Group{multiHomed(100)}},
		Change: scaleTo(8), For: 30 * time.Minute,
		Limits: []Limit{allReached, costs(1.3)},
	}
}

func split(name string, g world.Group) Scenario {
	return Scenario{
		Name: name, Note: "4 to 5 pods; one of two DNS servers lacks the youngest pod; 100 clients, for 3 h",
		World:  world.Config{Pods: 4, Net: world.Net{ViewEvery: time.Second, Split: 1}, Groups: []world.Group{g}},
		Change: scaleTo(5), For: 3 * time.Hour, Limits: []Limit{costs(1)},
	}
}
