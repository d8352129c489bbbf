package main

import (
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// shapes are clients of other kinds than those that planning knows best.
var shapes = []Scenario{
	endless("endless-lazy-60", 60, 4, true, 0.5, namesStreams),
	endless("endless-lazy-100", 100, 5, true, 0.6, namesStreams),
	endless("endless-eager-100", 100, 5, false, 0.6, namesStreams),
	polite("polite-lazy", true), polite("polite-eager", false),
	{
		Name: "subset-3of10", Note: "10 to 12 pods, 200 channels that each use 3 of them (gRFC A68), for 25 h",
		World:  world.Config{Pods: 10, Groups: []world.Group{{Name: "subsetting", Count: 200, Kind: world.RoundRobin, Subset: 3}}, Sample: 10 * time.Second},
		Change: scaleTo(12), For: 25 * time.Hour,
		Limits: []Limit{
			costs(1),
			{What: "GOAWAYs in last 24 h", Op: "=", Value: 0, Of: lastDay},
			nobodyPinned,
			{What: "called pinned", Op: "=", Value: 0, Of: sentenceThere("(?i)pinned|affinity")},
			allReached,
		},
	},
	{
		Name: "fixed-10to12", Note: "10 to 12 pods, 1,000 pick_first clients, DNS answers in a fixed order",
		World:  world.Config{Pods: 10, Net: world.Net{FixedOrder: true}, Groups: []world.Group{{Name: "pick_first", Count: 1000, Kind: world.PickFirst, UsesOld: true}}},
		Change: scaleTo(12), For: 30 * time.Minute,
		// The two new pods alone make max/mean 12/10.
		Limits: []Limit{{What: "max/mean at any time", Op: "<=", Value: 1.4, Of: peak}},
	},
	{
		Name: "fixed-10to12-new", Note: "the same, and the clients wait for the new answer",
		World:  world.Config{Pods: 10, Net: world.Net{FixedOrder: true}, Groups: []world.Group{{Name: "pick_first", Count: 1000, Kind: world.PickFirst}}},
		Change: scaleTo(12), For: 30 * time.Minute,
		Limits: []Limit{{What: "max/mean at any time", Op: "<=", Value: 1.4, Of: peak}},
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
		Name: "few-10to20", Note: "10 to 20 pods, 40 single-homed",
		World:  world.Config{Pods: 10, Groups: []world.Group{singleHomed(40)}},
		Change: scaleTo(20), For: time.Hour, Limits: []Limit{costs(1)},
	},
}

func endless(name string, n, to int, lazy bool, limit float64, more ...Limit) Scenario {
	g := singleHomed(n)
	g.LongShare, g.LongFor, g.Lazy = 1, 1000*time.Hour, lazy
	return Scenario{
		Name: name, Note: fmt.Sprintf("2 to %d pods, %d single-homed clients with a stream without end each", to, n),
		World: world.Config{Pods: 2, Groups: []world.Group{g}},
		Times: 10, Change: scaleTo(to), For: time.Hour, // three seeds say little about a few connections
		Limits: append([]Limit{costs(limit), {What: "drained twice", Op: "=", Value: 0, Of: twice}}, more...),
	}
}

// endAfter is how long the streams of a drained connection may go on.
const endAfter = 30 * time.Second

func polite(name string, lazy bool) Scenario {
	s := endless(name, 100, 5, lazy, 1)
	s.World.EndStreams, s.EvenMax = endAfter, 1.15
	s.Note += fmt.Sprintf("; the streams of a drained connection are ended after %v", endAfter)
	s.Limits = []Limit{
		even(1.15), costs(1.1),
		{What: "s to even, 4 rounds", Op: "<=", Value: 4*endAfter.Seconds() + 10, Of: timeToEven},
		{
			What: "s to even, 1 round", Op: "<=", Value: endAfter.Seconds(), Of: timeToEven,
			Beyond: "a drained connection lands on a new pod with probability 3/5. The 60 moves that are right bring 36 to the new pods, so that the old ones keep 32 of 20; the other 24 need a second and third round, each as long as a stream may go on, and the first begins 5 s after the change",
		},
	}
	return s
}
