package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// outcome is what came of one scenario.
type outcome struct {
	scenario *Scenario
	seeds    []uint64
	results  []*world.Result
	figures  []figure
	took     time.Duration
}

// figure is one bar and what came of it.
type figure struct {
	bar           Bar
	all           []float64 // by seed
	median, worst float64
	ok            bool
}

func (o *outcome) ok() bool {
	return !slices.ContainsFunc(o.figures, func(f figure) bool { return !f.ok })
}

// runner runs scenarios, several seeds at a time. It keeps the results that others are
// held against.
type runner struct {
	parallel int
	progress io.Writer
	// change, if not nil, changes each world before it begins.
	change func(*world.Config)
	kept   map[string][]*world.Result
}

func newRunner(parallel int, progress io.Writer) *runner {
	return &runner{parallel: parallel, progress: terminal(progress), kept: map[string][]*world.Result{}}
}

func (r *runner) scenario(s *Scenario, seeds []uint64) *outcome {
	begin := time.Now()
	o := &outcome{scenario: s, seeds: seeds, results: r.play(s, seeds)}
	var like []*world.Result
	if s.Like != "" {
		like = r.play(byName(s.Like), seeds)
	}
	for _, b := range s.Bars {
		o.figures = append(o.figures, judge(b, o.results, like))
	}
	o.took = time.Since(begin)
	return o
}

func byName(name string) *Scenario {
	i := slices.IndexFunc(scenarios, func(s Scenario) bool { return s.Name == name })
	return &scenarios[i]
}

// play returns the results by seed.
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
			results[i] = s.play(cfg)
		})
	}
	wg.Wait()
	fmt.Fprint(r.progress, "\r\033[K")
	r.kept[id] = results
	return results
}

// slack is by how much the worst seed may miss a bar.
const slack = 1.25

func judge(b Bar, results, like []*world.Result) figure {
	f := figure{bar: b}
	by := 1.0
	if b.Against {
		by = median(valuesOf(b, like))
	}
	for _, v := range valuesOf(b, results) {
		f.all = append(f.all, v/by)
	}
	f.median = median(f.all)
	const eps = 1e-9
	switch b.Op {
	case ">=":
		f.worst = slices.Min(f.all)
		f.ok = f.median >= b.Limit-eps && f.worst >= b.Limit/slack-eps
	case "<=":
		f.worst = slices.Max(f.all)
		f.ok = f.median <= b.Limit+eps && f.worst <= b.Limit*slack+eps
	default:
		f.worst = slices.MaxFunc(f.all, func(x, y float64) int {
			return int(1e6 * (distance(x, b.Limit) - distance(y, b.Limit)))
		})
		f.ok = distance(f.median, b.Limit) < eps && distance(f.worst, b.Limit) <= (slack-1)*b.Limit+eps
	}
	return f
}

func distance(x, y float64) float64 { return max(x-y, y-x) }

func valuesOf(b Bar, results []*world.Result) []float64 {
	out := make([]float64, len(results))
	for i, r := range results {
		out[i] = b.Of(r)
	}
	return out
}

// median is the mean of the two in the middle if there are two.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// terminal is w if it is a terminal: a line that is written over again and again is of no
// use in a file.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return w
		}
	}
	return io.Discard
}
