package main

import (
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// loads are clients whose load changes, though the fleet does not.
var loads = []Scenario{
	bursts("bursts-10-2min", 2*time.Minute, 0.1, 0.1),
	bursts("bursts-10-1min", time.Minute, 0.1, 0.1),
	bursts("bursts-50-2min", 2*time.Minute, 0.5, 0.3),
	bursts("bursts-50-1min", time.Minute, 0.5, 0.3),
	saturated(92), saturated(95), saturated(98),
	lives("lives-5min-20", 20, 5*time.Minute),
	lives("lives-5min-100", 100, 5*time.Minute),
	lives("lives-1h-20", 20, time.Hour),
	lives("lives-1h-100", 100, time.Hour),
	{
		Name: "by-node", Note: "4 pods, two of them alone on their nodes behind a balancer of nodes; 400 clients that live for 1 h, for 24 h",
		World: world.Config{Pods: 4, Attract: func(i int) float64 { return []float64{1, 1, 2, 2}[i%4] }, Groups: []world.Group{scattered(living(400, time.Hour))}, Sample: 10 * time.Second},
		For:   24 * time.Hour, Limits: []Limit{{What: "GOAWAYs/new conn", Op: "<=", Value: 0.05, Of: perLife}},
	},
	{
		Name: "hangs-1of5", Note: "5 pods, 250 single-homed, by requests; the handlers of the first one hang for 1 h",
		World:  world.Config{Pods: 5, Requests: true, Groups: []world.Group{singleHomed(250)}},
		Change: func(w *world.World) { w.Hang(0) }, For: time.Hour,
		Limits: []Limit{{What: "its connections / share", Op: "<=", Value: 1, Of: oldestMost}},
	},
	{
		Name: "reports-0", Note: "5 pods, 200 single-homed; the first one reports load 0 forever",
		World: world.Config{Pods: 5, Report: reportsNothing, Groups: []world.Group{singleHomed(200)}},
		For:   time.Hour, Limits: []Limit{{What: "its connections / share", Op: "<=", Value: 1.1, Of: oldestMost}},
	},
	{
		Name: "reports-0-requests", Note: "the same, by requests",
		World: world.Config{Pods: 5, Requests: true, Report: reportsNothing, Groups: []world.Group{singleHomed(200)}},
		For:   time.Hour, Limits: []Limit{{What: "its connections / share", Op: "<=", Value: 1.1, Of: oldestMost}},
	},
	{
		Name: "one-address-4to8", Note: "4 to 8 pods, 1,000 single-homed clients of very different rates behind one address, by requests",
		World:  world.Config{Pods: 4, Requests: true, Noise: 0.1, Groups: []world.Group{{Name: "zipf", Count: 1000, Kind: world.ClusterIP, Keys: 1, Zipf: 0.75}}},
		Change: scaleTo(8), For: time.Hour, EvenMax: 1.1, Limits: []Limit{even(1.1), evenIn(2 * time.Minute)},
	},
	{
		Name: "idle-busy-2to4", Note: "2 to 4 pods, 25 idle and 25 busy single-homed clients, by connections",
		World:  world.Config{Pods: 2, Groups: []world.Group{singleHomed(25), busy(25)}},
		Change: scaleTo(4), For: 15 * time.Minute, Limits: []Limit{{What: "new pods' traffic / mean", Op: ">=", Value: 0.7, Of: newTraffic}},
	},
	{
		Name: "idle-busy-40", Note: "the same with 40 idle and 40 busy",
		World:  world.Config{Pods: 2, Groups: []world.Group{singleHomed(40), busy(40)}},
		Change: scaleTo(4), For: 15 * time.Minute, Limits: []Limit{{What: "new pods' traffic / mean", Op: ">=", Value: 0.7, Of: newTraffic}},
	},
	{
		Name: "noise-at-rest", Note: "5 pods, 200 single-homed clients whose rates vary by 20 %, by requests, for 24 h: how often a pod's verdict changes",
		World: world.Config{Pods: 5, Requests: true, Noise: 0.2, Groups: []world.Group{singleHomed(200)}, Sample: 10 * time.Second},
		For:   24 * time.Hour, Limits: []Limit{changesOfVerdict(1), none()},
	},
	honest("honest-alone", false), honest("honest-beside-150", false, greedy(false)),
	honest("honest-requests", true), honest("honest-150-requests", true, greedy(true)),
}

// bursts compares the mean of max/mean with that of the same clients if nothing moves.
func bursts(name string, slot time.Duration, on, low float64) Scenario {
	g := singleHomed(200)
	g.Bursts = world.Bursts{Slot: slot, On: on, Low: low}
	return Scenario{
		Name: name, Note: fmt.Sprintf("5 pods, 200 connections of equal mean rate, each busy for %.0f %% of the time in slots of %v, by requests, for 24 h", 100*on, slot),
		World: world.Config{Pods: 5, Requests: true, Groups: []world.Group{g}, Sample: 10 * time.Second}, For: 24 * time.Hour, Control: true,
		Limits: []Limit{costs(1), {What: "mean max/mean vs without", Op: "<=", Value: 1, Of: meanMax, Controlled: true}},
	}
}

func saturated(percent int) Scenario {
	return Scenario{
		Name: fmt.Sprintf("saturated-%d", percent), Times: 2, // three seeds say little about the ratio
		Note:  fmt.Sprintf("10 pods with a limit of 100, %d single-homed clients that live for 1 h, for 24 h", 10*percent),
		World: world.Config{Pods: 10, Limit: 100, Groups: []world.Group{living(10*percent, time.Hour)}, Sample: 10 * time.Second}, For: 24 * time.Hour, Control: true,
		Limits: []Limit{costs(1), {What: "s over limit vs without", Op: "<=", Value: 1, Of: overLimit, Controlled: true}},
	}
}

func lives(name string, perPod int, life time.Duration) Scenario {
	return Scenario{
		Name: name, Note: fmt.Sprintf("5 pods, %d single-homed clients a pod that live for %v, for 24 h; nothing else changes", perPod, life),
		World: world.Config{Pods: 5, Groups: []world.Group{living(5*perPod, life)}, Sample: 10 * time.Second}, For: 24 * time.Hour, Control: true,
		Limits: []Limit{
			{What: "GOAWAYs/new conn", Op: "<=", Value: 0.05, Of: perLife},
			{What: "mean max/mean vs without", Op: "<=", Value: 1, Of: meanMax, Controlled: true},
		},
	}
}

// greedy is one client with 150 connections that it does not use and always replaces.
func greedy(silent bool) world.Group {
	return world.Group{Name: "greedy", Count: 150, Kind: world.ClusterIP, Keys: 1, Silent: silent}
}

// honest looks at the 30 connections of honest clients only. They count as even at 1.75 times the
// mean, which is 13 of 7.5: they are a sixth of all connections, and which of them land where is
// chance. At first it is 15.
func honest(name string, requests bool, more ...world.Group) Scenario {
	s := Scenario{
		Name: name, Note: "2 to 4 pods, 30 honest single-homed clients, whose loads alone are measured, beside one with 150 idle connections",
		World:  world.Config{Pods: 2, Requests: requests, Counted: 1, Groups: append([]world.Group{singleHomed(30)}, more...)},
		Change: scaleTo(4), For: 15 * time.Minute, EvenMax: 1.75, Limits: []Limit{even(1.75)},
	}
	if len(more) > 0 {
		s.Baseline = map[bool]string{true: "honest-requests", false: "honest-alone"}[requests]
		s.Limits = append(s.Limits, Limit{What: "time vs alone", Op: "<=", Value: 2, Of: timeToEven, Relative: true})
	}
	return s
}

// zones are fleets whose single-homed clients land in their own zone, by hints that are in force.
func zones() []Scenario {
	var all []Scenario
	for _, perZone := range []int{2, 6, 20} {
		for _, skew := range []int{14, 150} {
			all = append(all, zoned(perZone, skew, 30*time.Minute, 2*time.Hour))
		}
	}
	large := zoned(100, 14, 5*time.Minute, 15*time.Minute)
	large.Seeds = 5
	return append(all, large,
		Scenario{
			Name: "zones-scattered", Note: "3 zones of 20 pods, 3,000 clients placed by chance within their zones, for 1 h",
			World: world.Config{Pods: 60, Zones: 3, Groups: zoneClients(20, 14, true), Sample: 10 * time.Second}, For: time.Hour,
			Limits: []Limit{costs(1), {What: "zone max/mean", Op: "<=", Value: 1.1, Of: zoneMax}},
		},
		Scenario{
			Name: "zones-hpa", Note: "3 zones, 6 to 9 to 6 pods, 10 min each, for 24 h; new pods are looked at 2 min after the change, within their zones",
			World: world.Config{Pods: 6, Zones: 3, Groups: zoneClients(2, 150, false), Sample: 10 * time.Second}, For: 24 * time.Hour,
			Change: func(w *world.World) { breathe(w, 6, 9, 10*time.Minute, 24*time.Hour) },
			// Each of the 72 scale-ups moves a third of a zone, and a third of what moves lands on
			// the new pod: 1 per connection and scale-up.
			Limits: append(insideOnBothDays(24*time.Hour), nobodyPinned, costs(72)),
		})
}

// zoneClients are 50 clients for each pod on average: 114, 100 and 86 percent of them in the three
// zones, or 150, 90 and 60.
func zoneClients(perZone, skew int, random bool) []world.Group {
	parts := map[int][]int{14: {114, 100, 86}, 150: {150, 90, 60}}[skew]
	var all []world.Group
	for zone, percent := range parts {
		g := singleHomed(perZone * 50 * percent / 100)
		g.Zone, g.Random = zone+1, random
		all = append(all, g)
	}
	return all
}

// zoned is even within its zones at first, and then gets one more pod in each.
func zoned(perZone, skew int, still, run time.Duration) Scenario {
	return Scenario{
		Name:  fmt.Sprintf("zones-3x%d-%d", perZone, skew),
		Note:  fmt.Sprintf("3 zones of %d pods, 50 clients a pod, skewed by %d %%: no move can help; after %.0f min each zone gets one more pod", perZone, skew, still.Minutes()),
		World: world.Config{Pods: 3 * perZone, Zones: 3, Groups: zoneClients(perZone, skew, false), Sample: 5 * time.Second}, For: run,
		Change: func(w *world.World) {
			w.At(w.Now()+still, func() { w.Scale(3*perZone + 3) })
			w.EvenFrom(w.Now() + still)
		},
		Limits: []Limit{
			{What: "GOAWAYs in vain", Op: "=", Value: 0, Of: before(still)},
			{What: "zone max/mean", Op: "<=", Value: 1.1, Of: zoneMax},
			{What: "zone min/mean", Op: ">=", Value: 0.7, Of: zoneMin},
			costs(1), evenIn(2 * time.Minute),
			{What: "zone not named", Op: "=", Value: 0, Of: sentenceMissing("zone-1")},
		},
	}
}
