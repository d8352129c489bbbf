package main

import (
	"math"
	"regexp"
	"runtime"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// warm is how long a world runs before anything changes in it.
const warm = time.Minute

// Scenario is one fleet, what happens to it, and what must come of it.
type Scenario struct {
	Name string
	// Note says what the name does not.
	Note string
	// Title is that of the plot; empty: none is drawn.
	Title string
	// World is the fleet. Its seed, policy and bound are filled in.
	World world.Config
	// Policy changes the policy that ships; nil: it is that one.
	Policy func(*plan.Policy)
	// Change is what happens after warm; nil: nothing.
	Change func(*world.World)
	// For is how long the world runs from then on.
	For time.Duration
	// Seeds, if not 0, is the most seeds that are run.
	Seeds int
	// Like is the scenario against which bars of the kind "against" hold the result, by
	// name.
	Like string
	// EvenMax, if not 0, is the bound on max/mean by which times to even are measured;
	// else it is the band.
	EvenMax float64
	// Bars are what must come of it.
	Bars []Bar
}

// Bar is a bound on a figure: the median of all seeds must keep it, and the worst of 20
// may miss it by a quarter.
type Bar struct {
	What  string
	Limit float64
	// Op is one of "<=", ">=" and "=".
	Op string
	// Of takes the figure from a result.
	Of func(*world.Result) float64
	// Against: the figure is divided by the median of it in the scenario Like, with the
	// same seeds.
	Against bool
}

func (s *Scenario) seedsOf(first uint64, n int) []uint64 {
	if s.Seeds > 0 {
		n = min(n, s.Seeds)
	}
	var seeds []uint64
	for i := range n {
		seeds = append(seeds, first+uint64(i))
	}
	return seeds
}

func (s *Scenario) config(seed uint64) world.Config {
	cfg := s.World
	cfg.Seed = seed
	cfg.Policy = world.DefaultPolicy(cfg.Requests)
	if s.Policy != nil {
		s.Policy(&cfg.Policy)
	}
	if s.EvenMax > 0 {
		cfg.Bound = world.Below(s.EvenMax)
	}
	return cfg
}

// play runs the scenario with one seed.
func (s *Scenario) play(cfg world.Config) *world.Result {
	if cfg.Timed {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	w := world.New(cfg)
	w.RunTo(warm)
	w.Measure()
	if s.Change != nil {
		s.Change(w)
	}
	w.RunTo(warm + s.For)
	return w.Result()
}

// The figures.

func maxMean(r *world.Result) float64   { return r.Final.MaxOfMean }
func ofBand(r *world.Result) float64    { return r.Final.OfBand() }
func perConn(r *world.Result) float64   { return r.PerClient(-1) }
func goaways(r *world.Result) float64   { return float64(len(r.GoAways)) }
func above(r *world.Result) float64     { return r.Above.Seconds() }
func traffic(r *world.Result) float64   { return r.Bytes }
func plan999(r *world.Result) float64   { return r.Plan999.Seconds() * 1000 }
func atMark(r *world.Result) float64    { return r.Marks[0].MaxOfMean }
func worstBand(r *world.Result) float64 { return r.Worst.OfBand() }

func perClient(group int) func(*world.Result) float64 {
	return func(r *world.Result) float64 { return r.PerClient(group) }
}

// timeToEven is in seconds, at least one, since times are compared.
func timeToEven(r *world.Result) float64 {
	if r.Even < 0 {
		return math.Inf(1)
	}
	return max(r.Even.Seconds(), 1)
}

// inMinute is the most GOAWAYs in any minute, as a share of the connections.
func inMinute(r *world.Result) float64 {
	all := 0
	for _, n := range r.Clients {
		all += n
	}
	return float64(r.MostIn(time.Minute)) / float64(all)
}

// reachAgain is the GOAWAYs of reach after its first round.
func reachAgain(r *world.Result) float64 {
	n := 0
	for _, g := range r.GoAways {
		if world.Reasons[g.Why] == reason.Reach && g.At > warm+plan.DefaultCheckAfter {
			n++
		}
	}
	return float64(n)
}

// newest is what the youngest pod has of the mean.
func newest(r *world.Result) float64 {
	return r.Verdicts[len(r.Verdicts)-1].Load / r.Final.Mean
}

// lastDay is the GOAWAYs of the last 24 h, per connection.
func lastDay(r *world.Result) float64 {
	return float64(r.After(r.Final.At - 24*time.Hour))
}

// silent is 0 if a pod comes to the verdict with a sentence that matches, else 1.
func silent(verdict plan.Verdict, sentence string) func(*world.Result) float64 {
	says := regexp.MustCompile(sentence)
	return func(r *world.Result) float64 {
		for _, v := range r.Verdicts {
			if v.Verdict == verdict && says.MatchString(v.Why) {
				return 0
			}
		}
		return 1
	}
}

func band() Bar {
	return Bar{What: "worst pod / band", Op: "<=", Limit: 1, Of: ofBand}
}

func even(limit float64) Bar {
	return Bar{What: "max/mean", Op: "<=", Limit: limit, Of: maxMean}
}

func evenIn(limit time.Duration) Bar {
	return Bar{What: "s to even", Op: "<=", Limit: limit.Seconds(), Of: timeToEven}
}

func costs(limit float64) Bar {
	return Bar{What: "GOAWAYs/conn", Op: "<=", Limit: limit, Of: perConn}
}

func costsOf(group int, what string, limit float64) Bar {
	return Bar{What: what, Op: "<=", Limit: limit, Of: perClient(group)}
}

// budget has 2 % of air: a pod's budget counts the connections that it has at the moment,
// those that are leaving, too.
func budget(limit float64) Bar {
	return Bar{What: "most in a minute", Op: "<=", Limit: limit * 1.02, Of: inMinute}
}

func none() Bar { return Bar{What: "GOAWAYs", Op: "=", Limit: 0, Of: goaways} }

func spread(n int) world.Group { return world.Group{Name: "spread", Count: n, Kind: world.RoundRobin} }

func sticky(n int) world.Group { return world.Group{Name: "sticky", Count: n, Kind: world.ClusterIP} }

func scaleTo(n int) func(*world.World) { return func(w *world.World) { w.Scale(n) } }

// lossy loses half of the reports, and lets pods look at the membership every 10 s.
var lossy = world.Net{ReportLoss: 0.5, ViewEvery: 10 * time.Second}

func rolling(name, title string, pods int) Scenario {
	const perPod, every = 30, 10 * time.Second
	return Scenario{
		Name: name, Title: title, Note: "a new pod ready each 10 s, then an old one stops; even: since its end",
		World: world.Config{Pods: pods, Groups: []world.Group{sticky(perPod * pods)}},
		Change: func(w *world.World) {
			end := w.Roll(every)
			w.EvenFrom(end)
			w.MarkAt(end + 2*time.Minute)
		},
		For:     time.Duration(pods)*every + 10*time.Minute,
		EvenMax: 1.2,
		Bars:    []Bar{{What: "max/mean 2 min after", Op: "<=", Limit: 1.2, Of: atMark}, costs(1.2)},
	}
}

func flapping(w *world.World) {
	w.Scale(5)
	w.At(w.Now()+3*time.Minute, func() { w.Scale(2) })
	w.At(w.Now()+6*time.Minute, func() { w.Scale(5) })
	w.EvenFrom(w.Now() + 6*time.Minute)
}

// mega lets a pod plan no more often than each 100 ms; a hundred pods come within 10 s.
var mega = Scenario{
	Name: "million", Note: "1,000 to 1,100 pods, 1,000,000 connections; pods plan at most each 100 ms; plan: processor time, 999 of 1,000 calls",
	World:  world.Config{Pods: 1000, Groups: []world.Group{sticky(1_000_000)}, Ready: 10 * time.Second, MinWake: 100 * time.Millisecond, Timed: true, Net: world.Net{Nodes: 200}},
	Change: scaleTo(1100), For: 8 * time.Minute, Seeds: 3,
	Bars: []Bar{
		band(),
		{What: "B/s per pod", Op: "<=", Limit: 10_000, Of: traffic},
		{What: "plan ms", Op: "<=", Limit: 5, Of: plan999},
	},
}

var scenarios = []Scenario{
	{
		Name: "spread-2to5", Title: "2 to 5 pods, 100 round_robin channels over a headless Service",
		World:  world.Config{Pods: 2, Groups: []world.Group{spread(100)}},
		Change: scaleTo(5), For: 10 * time.Minute, EvenMax: 1.05,
		Bars: []Bar{even(1.05), {What: "GOAWAYs", Op: "=", Limit: 100, Of: goaways}},
	},
	{
		Name: "spread-1to3", Note: "on one pod nobody can tell that they are spread", World: world.Config{Pods: 1, Groups: []world.Group{spread(100)}},
		Change: scaleTo(3), For: 10 * time.Minute, EvenMax: 1.1,
		Bars: []Bar{even(1.1), {What: "GOAWAYs", Op: "<=", Limit: 120, Of: goaways}},
	},
	{
		Name: "sticky-3to4", World: world.Config{Pods: 3, Groups: []world.Group{sticky(300)}},
		Change: scaleTo(4), For: 15 * time.Minute, Bars: []Bar{band(), costs(0.72)},
	},
	{
		Name: "sticky-2to5", Title: "2 to 5 pods, 100 connections through a ClusterIP",
		World:  world.Config{Pods: 2, Groups: []world.Group{sticky(100)}},
		Change: scaleTo(5), For: 15 * time.Minute, Bars: []Bar{band(), costs(0.97)},
	},
	{
		Name: "sticky-10to12", World: world.Config{Pods: 10, Groups: []world.Group{sticky(1000)}},
		Change: scaleTo(12), For: 15 * time.Minute, Bars: []Bar{band(), costs(0.82)},
	},
	{
		Name: "sticky-10to20", Title: "10 to 20 pods, 2,000 connections through a ClusterIP",
		World:  world.Config{Pods: 10, Groups: []world.Group{sticky(2000)}},
		Change: scaleTo(20), For: 15 * time.Minute, Bars: []Bar{band(), costs(0.92)},
	},
	{
		Name: "sticky-100to101", Note: "maxFractionPerMinute 0.2",
		World:  world.Config{Pods: 100, Groups: []world.Group{sticky(10_000)}},
		Policy: func(p *plan.Policy) { p.MaxFractionPerMinute = 0.2 },
		Change: scaleTo(101), For: 20 * time.Minute,
		Bars: []Bar{{What: "new pod/mean", Op: ">=", Limit: 0.7, Of: newest}, costs(0.75), budget(0.2)},
	},
	{
		Name: "mixed-3to6", Title: "3 to 6 pods, 60 round_robin channels and 60 connections through a ClusterIP",
		Note: "60 channels and 60 sticky", World: world.Config{Pods: 3, Groups: []world.Group{spread(60), sticky(60)}},
		Change: scaleTo(6), For: 15 * time.Minute, EvenMax: 1.15,
		Bars: []Bar{even(1.15), costsOf(0, "GOAWAYs/spread", 1), costsOf(1, "GOAWAYs/sticky", 1)},
	},
	{
		Name: "nat-2to5", Note: "1,000 round_robin channels of one address",
		World:  world.Config{Pods: 2, Groups: []world.Group{{Name: "nat", Count: 1000, Kind: world.RoundRobin, Keys: 1}}},
		Change: scaleTo(5), For: 10 * time.Minute, EvenMax: 1.15, Bars: []Bar{even(1.15), costs(1.3)},
	},
	{
		Name: "sticky-nat-2to5", Note: "60 connections through a ClusterIP, 20 of each of 3 addresses",
		World:  world.Config{Pods: 2, Groups: []world.Group{{Name: "nat", Count: 60, Kind: world.ClusterIP, Keys: 3, Random: true}}},
		Change: scaleTo(5), For: 15 * time.Minute,
		Bars: []Bar{band(), costs(1), evenIn(80 * time.Second), {What: "reach, later rounds", Op: "=", Limit: 0, Of: reachAgain}},
	},
	{
		Name: "sticky-nat-10to15", Note: "1,000 connections through a ClusterIP, 50 of each of 20 addresses",
		World:  world.Config{Pods: 10, Groups: []world.Group{{Name: "nat", Count: 1000, Kind: world.ClusterIP, Keys: 20, Random: true}}},
		Change: scaleTo(15), For: 15 * time.Minute, Bars: []Bar{band(), costs(0.9), evenIn(180 * time.Second)},
	},
	{
		Name: "mixed-nat-3to6", Note: "60 channels and 60 sticky, of the same 3 addresses: nobody can tell one from the other",
		World:  world.Config{Pods: 3, Groups: []world.Group{{Name: "spread", Count: 60, Kind: world.RoundRobin, Keys: 3}, {Name: "sticky", Count: 60, Kind: world.ClusterIP, Keys: 3, SameKeys: true, Random: true}}},
		Change: scaleTo(6), For: 15 * time.Minute, EvenMax: 1.15,
		Bars: []Bar{even(1.15), costsOf(0, "GOAWAYs/spread", 1.75), costsOf(1, "GOAWAYs/sticky", 0.6)},
	},
	{
		Name: "zipf-4to8", Title: "4 to 8 pods, 1,000 connections of very different rates",
		Note:   "1,000 sticky, weight requests, exponent 0.75: the heaviest has 5.2 % of all, half a pod's share is 6.2 %",
		World:  world.Config{Pods: 4, Requests: true, Noise: 0.1, Groups: []world.Group{{Name: "zipf", Count: 1000, Kind: world.ClusterIP, Zipf: 0.75}}},
		Change: scaleTo(8), For: 20 * time.Minute, EvenMax: 1.25, Bars: []Bar{even(1.25), costs(1)},
	},
	{
		Name: "few-3to5", Note: "3 sticky connections", World: world.Config{Pods: 3, Groups: []world.Group{sticky(3)}},
		Change: scaleTo(5), For: 10 * time.Minute,
		Bars: []Bar{{What: "not said", Op: "=", Limit: 0, Of: silent("unbalanceable", "")}, none()},
	},
	{
		Name: "affinity-2to4", Note: "100 sticky, then 24 h; coarse ticks from 1 h on",
		World: world.Config{
			Pods: 2, Groups: []world.Group{{Name: "affinity", Count: 100, Kind: world.ClusterIP, Affinity: true}},
			RestTick: 10 * time.Second, RestFrom: time.Hour,
		},
		Change: scaleTo(4), For: 25 * time.Hour,
		Bars: []Bar{
			{What: "not said", Op: "=", Limit: 0, Of: silent("unbalanceable", "(?i)affinity|pin|come[s]? back|came back|return")},
			costs(3),
			{What: "in the last 24 h", Op: "=", Limit: 0, Of: lastDay},
		},
	},
	rolling("rolling-3", "", 3),
	rolling("rolling-10", "Rolling restart of 10 pods, 300 connections through a ClusterIP", 10),
	rolling("rolling-50", "", 50),
	{
		Name: "flapping", Title: "2 to 5 to 2 to 5 pods, every 3 minutes, 100 connections",
		Note: "even: since the last change", World: world.Config{Pods: 2, Groups: []world.Group{sticky(100)}},
		Change: flapping, For: 15 * time.Minute,
		Bars: []Bar{{What: "s above 2.0", Op: "<=", Limit: 60, Of: above}, budget(1)},
	},
	{
		Name: "week", Note: "5 pods, 200 connections, weights waver by 20 %, nothing changes; coarse ticks (10 s)",
		World: world.Config{
			Pods: 5, Requests: true, Noise: 0.2, Groups: []world.Group{sticky(200)},
			RestTick: 10 * time.Second, Sample: 10 * time.Second,
		},
		For: 7 * 24 * time.Hour, Bars: []Bar{{What: "worst of band", Op: "<=", Limit: 1, Of: worstBand}, none()},
	},
	{
		Name: "lossy-2to5", Note: "half of the reports lost, views 10 s apart", Like: "sticky-2to5",
		World:  world.Config{Pods: 2, Groups: []world.Group{sticky(100)}, Net: lossy},
		Change: scaleTo(5), For: 15 * time.Minute, Bars: lossyBars(),
	},
	{
		Name: "lossy-10to20", Note: "half of the reports lost, views 10 s apart", Like: "sticky-10to20",
		World:  world.Config{Pods: 10, Groups: []world.Group{sticky(2000)}, Net: lossy},
		Change: scaleTo(20), For: 15 * time.Minute, Bars: lossyBars(),
	},
	{
		Name: "stale-dns-2to5", Note: "clients behind 5 caches of 60 s, the pods ask the authoritative server",
		World:  world.Config{Pods: 2, Groups: []world.Group{spread(100)}, Net: world.Net{Caches: 5, CacheTTL: time.Minute}},
		Change: scaleTo(5), For: 15 * time.Minute, EvenMax: 1.1, Bars: []Bar{even(1.1), costs(2)},
	},
	{
		Name: "stale-nat-2to5", Note: "60 round_robin channels of 3 addresses behind 5 caches of 60 s, the pods ask the authoritative server",
		World:  world.Config{Pods: 2, Groups: []world.Group{{Name: "nat", Count: 60, Kind: world.RoundRobin, Keys: 3}}, Net: world.Net{Caches: 5, CacheTTL: time.Minute}},
		Change: scaleTo(5), For: 15 * time.Minute, EvenMax: 1.1, Bars: []Bar{even(1.1), costs(2)},
	},
	mega,
}

func lossyBars() []Bar {
	return []Bar{
		band(),
		{What: "time of without", Op: "<=", Limit: 2, Of: timeToEven, Against: true},
		{What: "GOAWAYs of without", Op: "<=", Limit: 1.2, Of: goaways, Against: true},
	}
}
