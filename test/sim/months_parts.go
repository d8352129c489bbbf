package main

import (
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
	there := sentenceThere(sentence)
	return func(r *world.Result) float64 { return 1 - there(r) }
}

// sentenceThere is 1 if a verdict has a sentence that matches, else 0.
func sentenceThere(sentence string) func(*world.Result) float64 {
	matching := regexp.MustCompile(sentence)
	return func(r *world.Result) float64 {
		for _, v := range r.Verdicts {
			if matching.MatchString(v.Why) {
				return 1
			}
		}
		return 0
	}
}

// outMissing is 0 if the verdicts of all pods that are out have a sentence that matches, else 1.
func outMissing(sentence string) func(*world.Result) float64 {
	matching := regexp.MustCompile(sentence)
	return func(r *world.Result) float64 {
		for _, v := range r.Outs {
			if !matching.MatchString(v.Why) {
				return 1
			}
		}
		return b2f(len(r.Outs) == 0)
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

func b2f(b bool) float64 { return float64(b2i(b)) }

// The figures of these scenarios.

func pinned(r *world.Result) float64         { return float64(r.Pinned) }
func unreached(r *world.Result) float64      { return float64(r.Unreached) }
func verdictChanges(r *world.Result) float64 { return r.VerdictChanges }
func oldestMost(r *world.Result) float64     { return r.Verdicts[0].MostShare }
func zoneMax(r *world.Result) float64        { return r.ZoneMax }
func zoneMin(r *world.Result) float64        { return r.ZoneMin }
func unlisted(r *world.Result) float64       { return float64(r.Unlisted) }
func arrivals(r *world.Result) float64       { return float64(r.Arrivals) }
func meanMax(r *world.Result) float64        { return r.MeanMax }
func overLimit(r *world.Result) float64      { return r.OverLimit.Seconds() }
func warmest(r *world.Result) float64        { return r.Warmest }
func peak(r *world.Result) float64           { return r.Peak }
func twice(r *world.Result) float64          { return float64(r.Twice) }

// gone is in seconds.
func gone(r *world.Result) float64 {
	if r.Gone < 0 {
		return math.Inf(1)
	}
	return r.Gone.Seconds()
}

// ofPodsFrom counts the GOAWAYs of the pods from this number on, ofOthers those of the others.
func ofPodsFrom(pod int) func(*world.Result) float64 {
	return func(r *world.Result) float64 { return float64(r.From(pod)) }
}

func ofOthers(pod int) func(*world.Result) float64 {
	return func(r *world.Result) float64 { return goaways(r) - float64(r.From(pod)) }
}

// before counts the GOAWAYs in the first d after the change.
func before(d time.Duration) func(*world.Result) float64 {
	return func(r *world.Result) float64 { return goaways(r) - float64(r.After(warm+d)) }
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

// timeToEvenExact is in seconds, and may be less than one.
func timeToEvenExact(r *world.Result) float64 {
	if r.Even < 0 {
		return math.Inf(1)
	}
	return r.Even.Seconds()
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
