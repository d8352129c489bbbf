package main

import (
	"fmt"
	"math"
	"regexp"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

var (
	nobodyPinned = Limit{What: "taken for pinned", Op: "=", Value: 0, Of: pinned}
	allReached   = Limit{What: "channels unreached", Op: "=", Value: 0, Of: unreached}
)

// namesStreams wants a verdict that names what the moves wait for.
var namesStreams = Limit{What: "no verdict on streams", Op: "=", Value: 0, Of: sentenceMissing("stream")}

// sentenceMissing is 0 if a verdict has a sentence that matches, else 1.
func sentenceMissing(sentence string) func(*world.Result) float64 {
	matching := regexp.MustCompile(sentence)
	return func(r *world.Result) float64 {
		for _, v := range r.Verdicts {
			if matching.MatchString(v.Why) {
				return 0
			}
		}
		return 1
	}
}

func reportsNothing(pod int, r *peerview.Summary) {
	if pod == 0 {
		r.Load = 0
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The figures of these scenarios.

func pinned(r *world.Result) float64         { return float64(r.Pinned) }
func unreached(r *world.Result) float64      { return float64(r.Unreached) }
func verdictChanges(r *world.Result) float64 { return r.VerdictChanges }
func oldest(r *world.Result) float64         { return r.Verdicts[0].Load / r.Final.Mean }
func zoneMax(r *world.Result) float64        { return r.ZoneMax }
func zoneMin(r *world.Result) float64        { return r.ZoneMin }
func unlisted(r *world.Result) float64       { return float64(r.Unlisted) }
func arrivals(r *world.Result) float64       { return float64(r.Arrivals) }
func meanMax(r *world.Result) float64        { return r.MeanMax }

func leastAt(mark int) func(*world.Result) float64 {
	return func(r *world.Result) float64 { return r.Marks[mark].Least }
}

// newTraffic is the share of streams on that of the two youngest pods which has fewer, over the
// mean of all pods.
func newTraffic(r *world.Result) float64 {
	all, n := 0, len(r.Verdicts)
	for _, v := range r.Verdicts {
		all += v.Streams
	}
	return float64(min(r.Verdicts[n-1].Streams, r.Verdicts[n-2].Streams)) * float64(n) / float64(all)
}

func leastOfMeanAt(mark int) func(*world.Result) float64 {
	return func(r *world.Result) float64 { return r.Marks[mark].MinOfMean }
}

// perLife is the number of GOAWAYs for each new connection of clients that come and go.
func perLife(r *world.Result) float64 { return goaways(r) / float64(max(r.Lives, 1)) }

// timeToEvenFirst is the time in seconds until the loads first became even.
func timeToEvenFirst(r *world.Result) float64 {
	if r.FirstEven < 0 {
		return math.Inf(1)
	}
	return r.FirstEven.Seconds()
}

func living(n int, life time.Duration) world.Group {
	g := singleHomed(n)
	g.Life = life
	return g
}

func scattered(g world.Group) world.Group {
	g.Random = true
	return g
}

// busy clients always have a stream in flight.
func busy(n int) world.Group {
	g := singleHomed(n)
	g.LongShare, g.LongFor = 1, 100*time.Millisecond
	return g
}

// bursts compares the mean of max/mean with the one that clients have if nothing moves.
func bursts(name string, on, low, without float64) Scenario {
	g := singleHomed(200)
	g.Bursts = world.Bursts{Slot: 2 * time.Minute, On: on, Low: low}
	return Scenario{
		Name: name, Fails: "finding 5", Note: fmt.Sprintf("5 pods, 200 connections of equal mean rate, each busy for %.0f %% of the time in slots of 2 min, by requests, for 6 h", 100*on),
		World: world.Config{Pods: 5, Requests: true, Groups: []world.Group{g}}, For: 6 * time.Hour,
		Limits: []Limit{costs(1.2), {What: "mean of max/mean", Op: "<=", Value: without, Of: meanMax}},
	}
}

func saturated(percent int, fails string, limit float64) Scenario {
	return Scenario{
		Name: fmt.Sprintf("saturated-%d", percent), Fails: fails,
		Note:  fmt.Sprintf("10 pods with a limit of 100, %d single-homed clients that live for 1 h, for 6 h", 10*percent),
		World: world.Config{Pods: 10, Limit: 100, Groups: []world.Group{living(10*percent, time.Hour)}, Sample: 10 * time.Second}, For: 6 * time.Hour,
		Limits: []Limit{costs(limit)},
	}
}

func lives(name, fails string, n int, life, run time.Duration) Scenario {
	return Scenario{
		Name: name, Fails: fails, Note: fmt.Sprintf("5 pods, %d single-homed clients that live for %v, for %v; nothing else changes", n, life, run),
		World: world.Config{Pods: 5, Groups: []world.Group{living(n, life)}, Sample: 10 * time.Second}, For: run,
		Limits: []Limit{{What: "GOAWAYs/new conn", Op: "<=", Value: 0.05, Of: perLife}},
	}
}

func crashing(name, fails, note string, g world.Group, run time.Duration, limits ...Limit) Scenario {
	return Scenario{
		Name: name, Fails: fails, Note: note,
		World: world.Config{Pods: 5, Groups: []world.Group{g}, Sample: 10 * time.Second}, For: run,
		Change: func(w *world.World) {
			w.Every(w.Now(), 5*time.Minute, int(run/(5*time.Minute)), func(int) { w.Crash(4, time.Minute) })
		},
		Limits: limits,
	}
}

func rollout(name, fails string, g world.Group, pods int, every time.Duration, batch int, limit float64) Scenario {
	return Scenario{
		Name: name, Fails: fails, Note: fmt.Sprintf("a rolling update of %d pods: %d each %v", pods, batch, every),
		World: world.Config{Pods: pods, Groups: []world.Group{g}}, For: time.Duration(pods/batch)*every + 10*time.Minute,
		Change: func(w *world.World) { w.EvenFrom(w.RollBatches(every, batch)) },
		Limits: []Limit{costs(limit), allReached, evenIn(2 * time.Minute)},
	}
}

func inPlace(name, fails string, g world.Group, limit float64) Scenario {
	return Scenario{
		Name: name, Fails: fails, Note: "a rolling update of a StatefulSet of 10 pods, one each 40 s: each is ready again at the same address after 35 s",
		World: world.Config{Pods: 10, Groups: []world.Group{g}}, For: 17 * time.Minute,
		Change: func(w *world.World) { w.EvenFrom(w.RollInPlace(40*time.Second, 25*time.Second)) },
		Limits: []Limit{costs(limit), allReached, evenIn(2 * time.Minute)},
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

// zoned has clients that land in their zone.
func zoned(name string, pods int, clients []int, random bool, run time.Duration, change func(*world.World), limits ...Limit) Scenario {
	s := Scenario{
		Name: name, Fails: "finding 4", Note: fmt.Sprintf("%d pods in 3 zones, %v clients of each zone land in it, for %v", pods, clients, run),
		World: world.Config{Pods: pods, Zones: 3, Sample: 10 * time.Second}, Change: change, For: run, Limits: limits,
	}
	for i, n := range clients {
		g := singleHomed(n)
		g.Zone, g.Random = i+1, random
		s.World.Groups = append(s.World.Groups, g)
	}
	return s
}

func endless(name, fails string, n, to int, lazy bool, limit float64, more ...Limit) Scenario {
	g := singleHomed(n)
	g.LongShare, g.LongFor, g.Lazy = 1, 1000*time.Hour, lazy
	return Scenario{
		Name: name, Fails: fails, Note: fmt.Sprintf("2 to %d pods, %d single-homed clients with a stream without end each", to, n),
		World:  world.Config{Pods: 2, Groups: []world.Group{g}},
		Change: scaleTo(to), For: 10 * time.Minute,
		Limits: append([]Limit{costs(limit)}, more...),
	}
}
