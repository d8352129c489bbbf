package main

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// months are fleets over hours and days: rollouts, autoscalers, crash loops, clients that come
// and go. Their limits are what is right, not what is reached. Each scenario that misses its
// limits today is marked with the finding that it shows; see docs/simulation.md.
var months = []Scenario{
	{
		Name: "hpa-2to3", Fails: "finding 1", Note: "2 to 3 to 2 pods, 30 min each, for 36 h; the third pod is looked at 25 min after it came",
		World: world.Config{Pods: 2, Groups: []world.Group{singleHomed(100)}, Sample: 10 * time.Second}, For: 36*time.Hour + 26*time.Minute,
		Change: func(w *world.World) {
			w.Every(w.Now(), 30*time.Minute, 73, func(i int) { w.Scale(3 - i%2) })
			for _, at := range []time.Duration{0, 24 * time.Hour, 36 * time.Hour} {
				w.MarkAt(w.Now() + at + 25*time.Minute)
			}
		},
		Limits: []Limit{
			{What: "third pod, first hour", Op: ">=", Value: 24, Of: leastAt(0)},
			{What: "third pod, after 24 h", Op: ">=", Value: 24, Of: leastAt(1)},
			{What: "third pod, after 36 h", Op: ">=", Value: 24, Of: leastAt(2)},
			nobodyPinned,
		},
	},
	{
		Name: "hpa-3to5", Fails: "finding 1", Note: "3 to 5 to 3 pods, 10 min each, for 40 h, 300 single-homed; the least loaded pod is looked at 2 min after the change",
		World: world.Config{Pods: 3, Groups: []world.Group{singleHomed(300)}, Sample: 10 * time.Second}, For: 40*time.Hour + 3*time.Minute,
		Change: func(w *world.World) {
			w.Every(w.Now(), 10*time.Minute, 241, func(i int) { w.Scale(5 - 2*(i%2)) })
			w.MarkAt(w.Now() + 2*time.Minute)
			w.MarkAt(w.Now() + 40*time.Hour + 2*time.Minute)
		},
		Limits: []Limit{
			{What: "least pod, first time", Op: ">=", Value: 42, Of: leastAt(0)},
			{What: "least pod, after 40 h", Op: ">=", Value: 42, Of: leastAt(1)},
			nobodyPinned,
		},
	},
	crashing("crashloop-single", "finding 1", "one of 5 pods crashes each 5 min for 6 h, and is away for 1 min; 245 single-homed", singleHomed(245), 6*time.Hour, nobodyPinned),

	rollout("roll-multi-10s", "finding 2a", multiHomed(100), 10, 10*time.Second, 1, 0.05),
	rollout("roll-multi-90s", "finding 2a", multiHomed(100), 10, 90*time.Second, 1, 0.05),
	rollout("roll-multi-3min", "finding 2a", multiHomed(100), 10, 3*time.Minute, 1, 0.05),
	rollout("roll-multi-batch", "finding 2a", multiHomed(100), 10, 40*time.Second, 3, 0.05),
	rollout("roll-multi-3", "finding 2a", multiHomed(100), 3, 40*time.Second, 1, 0.05),
	rollout("roll-multi-50", "finding 2a", multiHomed(100), 50, 40*time.Second, 1, 0.05),
	inPlace("stateful-multi", "finding 2a", multiHomed(100), 1),

	rollout("roll-single-30s", "", singleHomed(600), 20, 30*time.Second, 1, 4),
	rollout("roll-single-55s", "finding 2b", singleHomed(600), 20, 55*time.Second, 1, 4),
	rollout("roll-single-90s", "finding 2b", singleHomed(600), 20, 90*time.Second, 1, 4),
	rollout("roll-single-3min", "finding 2b", singleHomed(600), 20, 3*time.Minute, 1, 4),
	rollout("roll-single-5min", "finding 2b", singleHomed(600), 20, 5*time.Minute, 1, 4),
	inPlace("stateful-single", "finding 2b", singleHomed(300), 4),

	{
		Name: "flap-6to12", Fails: "finding 3", Note: "6 to 12 pods, 300 single-homed, while the readiness of one flips each 20 s; evenness is that of the others",
		World:  world.Config{Pods: 6, Groups: []world.Group{singleHomed(300)}},
		Change: flapWhileGrowing, For: time.Hour,
		Limits: []Limit{
			{What: "s to even", Op: "<=", Value: 60, Of: timeToEvenFirst},
			{What: "min/mean after 55 min", Op: ">=", Value: 0.7, Of: leastOfMeanAt(0)},
			costs(1.1),
		},
	},
	zoned("zones-3x20", 3*20, []int{1140, 1000, 860}, true, time.Hour, nil, costs(1), even(1.4),
		Limit{What: "zone max/mean", Op: "<=", Value: 1.1, Of: zoneMax}),
	zoned("zones-hpa", 6, []int{150, 90, 60}, false, 24*time.Hour, func(w *world.World) {
		w.Every(w.Now(), 10*time.Minute, 143, func(i int) { w.Scale(9 - 3*(i%2)) })
	}, Limit{What: "zone min/mean", Op: ">=", Value: 0.7, Of: zoneMin}),
	zoned("zones-3x2", 6, []int{150, 90, 60}, false, 2*time.Hour, nil, none()),
	bursts("bursts-10", 0.1, 0.1, 1.27),
	bursts("bursts-50", 0.5, 0.3, 1.1),
	saturated(92, "finding 6", 0.25),
	saturated(95, "finding 6", 1.5),
	saturated(98, "finding 6", 0.25),
	{
		Name: "blind-2to4", Fails: "finding 7", Note: "2 to 4 pods, 100 round_robin channels; 5 s after the change, when the growth begins, no pod can read the membership for 1 min",
		World: world.Config{Pods: 2, Groups: []world.Group{multiHomed(100)}}, For: 15 * time.Minute,
		Change: func(w *world.World) {
			w.Scale(4)
			w.At(w.Now()+5*time.Second, func() { w.Blind(time.Minute) })
			w.EvenFrom(w.Now() + 65*time.Second)
		},
		Limits: []Limit{allReached, evenIn(10 * time.Second), costs(1.05)},
	},
	{
		Name: "salt-1of5", Fails: "finding 8", Note: "5 to 8 pods, 100 round_robin channels; one of the old pods has another salt",
		World:  world.Config{Pods: 5, Salt: func(i int) int { return b2i(i == 0) }, Groups: []world.Group{multiHomed(100)}},
		Change: scaleTo(8), For: 30 * time.Minute,
		Limits: []Limit{allReached, costs(1.3)},
	},
	{
		Name: "salt-2of5", Fails: "finding 8", Note: "the same with two such pods",
		World:  world.Config{Pods: 5, Salt: func(i int) int { return b2i(i < 2) }, Groups: []world.Group{multiHomed(100)}},
		Change: scaleTo(8), For: 30 * time.Minute,
		Limits: []Limit{allReached, costs(1.3)},
	},
	endless("endless-lazy-60", "finding 9", 60, 4, true, 0.5, namesStreams),
	endless("endless-lazy-100", "finding 9", 100, 5, true, 0.6, namesStreams),
	endless("endless-eager-100", "", 100, 5, false, 1.2),
	{
		Name: "fixed-10to12", Fails: "finding 10", Note: "10 to 12 pods, 1,000 pick_first clients, DNS answers in a fixed order",
		World:  world.Config{Pods: 10, Net: world.Net{FixedOrder: true}, Groups: []world.Group{{Name: "pick_first", Count: 1000, Kind: world.PickFirst, UsesOld: true}}},
		Change: scaleTo(12), For: 30 * time.Minute, Limits: []Limit{even(1.4)},
	},
	{
		Name: "shuffled-10to12", Note: "10 to 12 pods, 1,000 pick_first clients that shuffle",
		World:  world.Config{Pods: 10, Net: world.Net{FixedOrder: true}, Groups: []world.Group{{Name: "pick_first", Count: 1000, Kind: world.PickFirst, Shuffle: true}}},
		Change: scaleTo(12), For: 30 * time.Minute, Limits: []Limit{band(), costs(1.15)},
	},
	{
		Name: "busy-10to12", Note: "as above, and they reconnect to an address of their previous answer, as a busy grpc-go does",
		World:  world.Config{Pods: 10, Groups: []world.Group{{Name: "pick_first", Count: 1000, Kind: world.PickFirst, Shuffle: true, UsesOld: true}}},
		Change: scaleTo(12), For: 30 * time.Minute, Limits: []Limit{band(), costs(2)},
	},
	{
		Name: "flap-2", Fails: "finding 11", Note: "2 pods, 60 single-homed, the readiness of one flips each 30 s for 1 h",
		World: world.Config{Pods: 2, Groups: []world.Group{singleHomed(60)}}, For: time.Hour,
		Change: func(w *world.World) {
			w.Every(w.Now(), 30*time.Second, 120, func(i int) { w.SetReady(1, i%2 == 1) })
		},
		Limits: []Limit{costs(1)},
	},
	{
		Name: "dns-2of3", Fails: "finding 11", Note: "3 pods whose name answers with 2 of them by chance, to pods and clients; 50 channels and 60 single-homed, for 3 h",
		World: world.Config{Pods: 3, Net: world.Net{ViewEvery: time.Second, Partial: 2}, Groups: []world.Group{multiHomed(50), singleHomed(60)}},
		For:   3 * time.Hour, Limits: []Limit{costs(1)},
	},
	{
		Name: "dns-8of10", Note: "10 pods whose name answers with 8 of them by chance; 100 single-homed, for 1 h",
		World: world.Config{Pods: 10, Net: world.Net{ViewEvery: time.Second, Partial: 8}, Groups: []world.Group{singleHomed(100)}},
		For:   time.Hour, Limits: []Limit{none()},
	},
	{
		Name: "dns-split-4to5", Note: "4 to 5 pods; one of two DNS servers lacks the youngest pod; 100 single-homed, for 3 h",
		World:  world.Config{Pods: 4, Net: world.Net{ViewEvery: time.Second, Split: 1}, Groups: []world.Group{singleHomed(100)}},
		Change: scaleTo(5), For: 3 * time.Hour, Limits: []Limit{costs(1)},
	},
	{
		Name: "one-address-4to8", Fails: "finding 12", Note: "4 to 8 pods, 1,000 single-homed clients of very different rates behind one address, by requests",
		World:  world.Config{Pods: 4, Requests: true, Noise: 0.1, Groups: []world.Group{{Name: "zipf", Count: 1000, Kind: world.ClusterIP, Keys: 1, Zipf: 0.75}}},
		Change: scaleTo(8), For: time.Hour, EvenMax: 1.1, Limits: []Limit{even(1.1), evenIn(2 * time.Minute)},
	},
	crashing("crashloop-multi", "finding 13", "one of 5 pods crashes each 5 min for 6 h, and is away for 1 min; 100 round_robin channels", multiHomed(100), 6*time.Hour, costs(2)),
	{
		Name: "verdicts", Fails: "finding 14", Note: "2 to 4 pods, 12 pinned clients, a cooldown of 10 min: how often the verdict of a pod changes in the first 10 min, as a rate",
		World:  world.Config{Pods: 2, Groups: []world.Group{{Name: "affinity", Count: 12, Kind: world.ClusterIP, Affinity: true}}},
		Policy: func(p *plan.Policy) { p.Cooldown = 10 * time.Minute },
		Change: scaleTo(4), For: 10 * time.Minute, Limits: []Limit{{What: "changes an hour", Op: "<=", Value: 60, Of: verdictChanges}},
	},
	{
		Name: "idle-busy-2to4", Fails: "finding 15", Note: "2 to 4 pods, 25 idle and 25 busy single-homed clients, by connections",
		World:  world.Config{Pods: 2, Groups: []world.Group{singleHomed(25), busy(25)}},
		Change: scaleTo(4), For: 15 * time.Minute, Limits: []Limit{{What: "new pods' traffic / mean", Op: ">=", Value: 0.7, Of: newTraffic}},
	},
	{
		Name: "arrivals-50to55", Fails: "finding 16", Note: "50 to 55 pods, 2,000 round_robin channels: connections that arrive at a pod within a second",
		World:  world.Config{Pods: 50, Groups: []world.Group{multiHomed(2000)}},
		Change: scaleTo(55), For: 3 * time.Minute, Limits: []Limit{{What: "most per second", Op: "<=", Value: 100, Of: arrivals}},
	},
	{
		Name: "removed-1of3", Fails: "finding 17", Note: "3 pods, 30 single-homed; one is taken out of the endpoints while it lives, for 10 min",
		World:  world.Config{Pods: 3, Groups: []world.Group{singleHomed(30)}},
		Change: func(w *world.World) { w.SetReady(2, false) }, For: 10 * time.Minute,
		Limits: []Limit{{What: "connections it keeps", Op: "=", Value: 0, Of: unlisted}},
	},
	{
		Name: "by-node", Fails: "node-local balancers", Note: "4 pods, two of them alone on their nodes behind a balancer of nodes; 400 clients that live for 1 h, for 24 h",
		World: world.Config{Pods: 4, Attract: func(i int) float64 { return []float64{1, 1, 2, 2}[i%4] }, Groups: []world.Group{scattered(living(400, time.Hour))}, Sample: 10 * time.Second},
		For:   24 * time.Hour, Limits: []Limit{{What: "GOAWAYs/new conn", Op: "<=", Value: 0.05, Of: perLife}},
	},
	lives("lives-5min", "lifetimes", 100, 5*time.Minute, 6*time.Hour),
	lives("lives-1h", "lifetimes", 100, time.Hour, 24*time.Hour),
	lives("lives-1h-100", "", 500, time.Hour, 6*time.Hour),
	{
		Name: "few-10to20", Fails: "few connections", Note: "10 to 20 pods, 40 single-homed",
		World:  world.Config{Pods: 10, Groups: []world.Group{singleHomed(40)}},
		Change: scaleTo(20), For: time.Hour, Limits: []Limit{costs(1)},
	},
	{
		Name: "plain-1of5", Note: "5 to 8 pods, 100 round_robin channels; one of the old pods serves without evenkeel",
		World:  world.Config{Pods: 5, Plain: func(i int) bool { return i == 0 }, Groups: []world.Group{multiHomed(100)}},
		Change: scaleTo(8), For: 30 * time.Minute,
		Limits: []Limit{allReached, costs(1)},
	},
	{
		Name: "reports-0", Fails: "false reports", Note: "5 pods, 200 single-homed; the first one reports load 0 forever",
		World: world.Config{Pods: 5, Report: reportsNothing, Groups: []world.Group{singleHomed(200)}},
		For:   time.Hour, Limits: []Limit{{What: "its load / share", Op: "<=", Value: 1.1, Of: oldest}},
	},
}
