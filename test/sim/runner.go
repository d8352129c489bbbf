package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// outcome is the result of one scenario over all its seeds.
type outcome struct {
	scenario *Scenario
	seeds    []uint64
	results  []*world.Result
	figures  []figure
	took     time.Duration
}

// figure is one limit with the values measured for it.
type figure struct {
	limit         Limit
	all           []float64 // by seed
	median, worst float64
	ok            bool
}

// ok reports whether all limits within reach are kept.
func (o *outcome) ok() bool {
	return !slices.ContainsFunc(o.figures, func(f figure) bool { return !f.ok && f.limit.Beyond == "" })
}

// reached reports whether a limit that is beyond reach is kept.
func (o *outcome) reached() bool {
	return slices.ContainsFunc(o.figures, func(f figure) bool { return f.ok && f.limit.Beyond != "" })
}

// expected reports whether the outcome is the one that the scenario's mark predicts.
func (o *outcome) expected() bool { return o.ok() == (o.scenario.Fails == "") && !o.reached() }

// runner runs scenarios, several seeds at a time. It keeps all results, since relative limits
// compare a scenario with an earlier one.
type runner struct {
	parallel int
	progress io.Writer
	// change, if not nil, modifies the Config of each world before it starts.
	change func(*world.Config)
	// transcript, if not nil, gets what happens in the first seed of each scenario.
	transcript *transcript
	kept       map[string][]*world.Result
}

func newRunner(parallel int, progress io.Writer) *runner {
	return &runner{parallel: parallel, progress: terminal(progress), kept: map[string][]*world.Result{}}
}

func (r *runner) scenario(s *Scenario, seeds []uint64) *outcome {
	begin := time.Now()
	if r.transcript != nil {
		r.transcript.begin(s.Name)
	}
	o := &outcome{scenario: s, seeds: seeds, results: r.play(s, seeds)}
	var baseline []*world.Result
	if s.Baseline != "" {
		baseline = r.play(byName(s.Baseline), seeds)
	}
	if s.Control {
		baseline = r.play(s.control(), seeds)
	}
	for _, l := range s.Limits {
		o.figures = append(o.figures, judge(l, o.results, baseline))
	}
	o.took = time.Since(begin)
	return o
}

// control is the scenario with rebalancing switched off.
func (s *Scenario) control() *Scenario {
	c := *s
	c.Name += " without"
	c.Policy = func(p *plan.Policy) {
		if s.Policy != nil {
			s.Policy(p)
		}
		p.Enabled = false
	}
	return &c
}

// byName returns the scenario of this name, of whichever set. There must be one.
func byName(name string) *Scenario {
	for _, set := range sets {
		for i := range set {
			if set[i].Name == name {
				return &set[i]
			}
		}
	}
	panic("no scenario " + name)
}

// play runs all seeds and returns their results in the order of seeds.
func (r *runner) play(s *Scenario, seeds []uint64) []*world.Result {
	id := fmt.Sprint(s.Name, seeds)
	if kept, ok := r.kept[id]; ok {
		return kept
	}
	results := make([]*world.Result, len(seeds))
	var wg sync.WaitGroup
	slots := make(chan struct{}, r.parallel)
	for i, seed := range seeds {
		slots <- struct{}{}
		fmt.Fprintf(r.progress, "\r\033[K%s: seed %d of %d", s.Name, i+1, len(seeds))
		wg.Go(func() {
			defer func() { <-slots }()
			cfg := s.config(seed)
			if r.change != nil {
				r.change(&cfg)
			}
			if t := r.transcript; i == 0 && t != nil && t.title == s.Name {
				cfg.Transcript = t.add
			}
			results[i] = s.play(cfg)
		})
	}
	wg.Wait()
	fmt.Fprint(r.progress, "\r\033[K")
	r.kept[id] = results
	return results
}

// slack is the factor by which the worst seed may exceed a limit.
const slack = 1.25

// equalWithin absorbs rounding when values are compared.
const equalWithin = 1e-9

func judge(l Limit, results, baseline []*world.Result) figure {
	f := figure{limit: l}
	f.all = valuesOf(l, results)
	switch {
	case l.Relative:
		divisor := median(valuesOf(l, baseline))
		for i := range f.all {
			f.all[i] /= divisor
		}
	case l.Controlled:
		for i, without := range valuesOf(l, baseline) {
			f.all[i] = ratio(f.all[i], without)
		}
	}
	f.median = median(f.all)
	usual := withoutOutliers(f.all, l)
	switch l.Op {
	case ">=":
		f.worst = slices.Min(usual)
		f.ok = f.median >= l.Value-equalWithin && f.worst >= l.Value/slack-equalWithin
	case "<=":
		f.worst = slices.Max(usual)
		f.ok = f.median <= l.Value+equalWithin && f.worst <= l.Value*slack+equalWithin
	default:
		f.worst = slices.MaxFunc(usual, func(x, y float64) int {
			return int(1e6 * (distance(x, l.Value) - distance(y, l.Value)))
		})
		f.ok = distance(f.median, l.Value) < equalWithin && distance(f.worst, l.Value) <= (slack-1)*l.Value+equalWithin
	}
	return f
}

// seedsPerWorst is of how many seeds the worst one is judged.
const seedsPerWorst = 20

// withoutOutliers leaves out one value in seedsPerWorst, of those beyond that: the rest ends
// where the worst of 20 seeds is on average.
func withoutOutliers(all []float64, l Limit) []float64 {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(x, y float64) int {
		switch l.Op {
		case ">=":
			x, y = y, x
		case "<=":
		default:
			x, y = distance(x, l.Value), distance(y, l.Value)
		}
		return cmp.Compare(x, y)
	})
	return sorted[:len(sorted)-(len(sorted)-1)/seedsPerWorst]
}

// ratio is x over y, and 1 if both are 0.
func ratio(x, y float64) float64 {
	if x == y {
		return 1
	}
	return x / y
}

func distance(x, y float64) float64 { return max(x-y, y-x) }

func valuesOf(l Limit, results []*world.Result) []float64 {
	out := make([]float64, len(results))
	for i, r := range results {
		out[i] = l.Of(r)
	}
	return out
}

// median returns the mean of the two middle values if their number is even.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// terminal returns w if it is a terminal and io.Discard if not: a progress line that overwrites
// itself is useless in a file.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return w
		}
	}
	return io.Discard
}
