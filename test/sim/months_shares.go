package main

import (
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// cores are those of the pods by number: 1, 2 and 4 in turn.
func cores(i int) float64 { return []float64{1, 2, 4}[i%3] }

// shares are pods that should carry different loads, or none.
var shares = []Scenario{
	{
		Name: "cores-6", Note: "6 pods of 1, 2 and 4 cores, 420 single-homed clients that are as many on each pod at first",
		World:  world.Config{Pods: 6, Share: cores, Groups: []world.Group{singleHomed(420)}},
		Change: nil, For: 30 * time.Minute, EvenMax: 1.1,
		Limits: []Limit{even(1.1), costs(1.3), evenIn(5 * time.Minute)},
	},
	{
		Name: "cores-3to6", Note: "3 to 6 pods of 1, 2 and 4 cores, 420 single-homed",
		World: world.Config{Pods: 3, Share: cores, Groups: []world.Group{singleHomed(420)}},
		// Chance alone varies the cost of a seed by a tenth, and the limit is 1 % above the least cost.
		Times: 10, Change: scaleTo(6), For: 30 * time.Minute, EvenMax: 1.1,
		Limits: []Limit{even(1.1), costs(1.3), evenIn(5 * time.Minute)},
	},
	warming("warmup-multi", multiHomed(200)),
	warming("warmup-single", singleHomed(200)),
	{
		Name: "removed-1of3", Note: "3 pods, 30 single-homed; one is taken out of the endpoints while it lives, for 10 min",
		World:  world.Config{Pods: 3, Groups: []world.Group{singleHomed(30)}},
		Change: func(w *world.World) { w.SetReady(2, false) }, For: 10 * time.Minute,
		Limits: []Limit{{What: "connections it keeps", Op: "=", Value: 0, Of: unlisted}},
	},
	{
		Name: "removed-1of10", Note: "10 pods, 300 single-homed and 30 round_robin channels; one pod is taken out of the endpoints while it lives, for 30 min",
		World:  world.Config{Pods: 10, Groups: []world.Group{singleHomed(300), multiHomed(30)}},
		Change: func(w *world.World) { w.SetReady(9, false) }, For: 30 * time.Minute,
		Limits: []Limit{
			{What: "connections it keeps", Op: "=", Value: 0, Of: unlisted},
			// The pod must have been missing for 30 s, and a minute's budget is all connections.
			{What: "s until it is empty", Op: "<=", Value: 100, Of: gone},
			{What: "GOAWAYs of others", Op: "=", Value: 0, Of: ofOthers(9)},
			{What: "GOAWAYs of it", Op: "<=", Value: 60, Of: ofPodsFrom(9)},
		},
	},
	{
		Name: "removed-6of10", Note: "the same with 6 of 10 pods at once: a mistake rather than an order",
		World: world.Config{Pods: 10, Groups: []world.Group{singleHomed(300), multiHomed(30)}},
		Change: func(w *world.World) {
			for i := 4; i < 10; i++ {
				w.SetReady(i, false)
			}
		},
		For:    30 * time.Minute,
		Limits: []Limit{none(), {What: "no verdict on it", Op: "=", Value: 0, Of: outMissing("(?i)6 of (the )?10|more than half")}},
	},
	{
		Name: "arrivals-50to55", Note: "50 to 55 pods, 2,000 round_robin channels: connections that arrive at a pod within a second",
		World:  world.Config{Pods: 50, Groups: []world.Group{multiHomed(2000)}},
		Change: scaleTo(55), For: 3 * time.Minute, Limits: []Limit{{What: "most per second", Op: "<=", Value: 100, Of: arrivals}, costs(1), allReached},
	},
}

func warming(name string, g world.Group) Scenario {
	const warmup = time.Minute
	return Scenario{
		Name: name, Note: fmt.Sprintf("4 to 6 pods that take %v to warm up, 200 clients", warmup),
		World:  world.Config{Pods: 4, Warmup: warmup, Groups: []world.Group{g}},
		Change: scaleTo(6), For: 15 * time.Minute,
		Limits: []Limit{{What: "load / share while warm", Op: "<=", Value: 1.2, Of: warmest}, costs(1), band(), allReached},
	}
}
