package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// seedsInTest is how many seeds each scenario runs. The scenario of a million connections takes
// over a minute per seed: it runs one seed, and none with -short. Under the race detector three
// small scenarios with three seeds show that worlds share nothing.
const seedsInTest = 20

func TestLimits(t *testing.T) {
	t.Parallel()
	checkLimits(t, scenarios, seedsInTest, func(s *Scenario) bool { return s.Seeds == 0 })
}

// TestLargeLimits keeps one processor busy for most of a minute while the other tests run.
func TestLargeLimits(t *testing.T) {
	t.Parallel()
	checkLimits(t, scenarios, seedsInTest, func(s *Scenario) bool { return s.Seeds > 0 })
}

func checkLimits(t *testing.T, set []Scenario, n int, wanted func(*Scenario) bool) {
	r := newRunner(runtime.GOMAXPROCS(0), io.Discard)
	for i := range set {
		s := &set[i]
		if !wanted(s) {
			continue
		}
		seeds := s.seedsOf(1, n)
		if s.Seeds > 0 && !s.Control { // one seed would be compared with one throw of dice
			seeds = seeds[:1]
		}
		if raceOn {
			seeds = seeds[:min(3, len(seeds))]
		}
		t.Run(s.Name, func(t *testing.T) {
			switch {
			case s.Seeds > 0 && testing.Short():
				t.Skip("takes a minute")
			case raceOn && !slices.Contains([]string{"multi-2to5", "single-2to5", "mixed-3to6"}, s.Name):
				t.Skip("slow under the race detector, and shares no more than the others")
			}
			o := r.scenario(s, seeds)
			if raceOn {
				return // three seeds make no median
			}
			for _, f := range o.figures {
				switch {
				case f.limit.Beyond != "" && f.ok:
					t.Errorf("%s is kept, but is marked as beyond reach", f.limit.What)
				case f.limit.Beyond == "" && !f.ok:
					t.Errorf("%s: median %s and worst %s of %d seeds, want %s %s", f.limit.What, short(f.median), short(f.worst), len(seeds), f.limit.Op, short(f.limit.Value))
				}
			}
		})
	}
}

// withPlan returns a runner whose pods plan with next.
func withPlan(next func(plan.State, *plan.View, *plan.Policy) (plan.State, plan.Step)) *runner {
	r := newRunner(runtime.GOMAXPROCS(0), io.Discard)
	r.change = func(cfg *world.Config) { cfg.Next = next }
	return r
}

func TestPlanThatNeverDrainsFails(t *testing.T) {
	r := withPlan(func(s plan.State, v *plan.View, p *plan.Policy) (plan.State, plan.Step) {
		s, step := plan.Next(s, v, p)
		step.Drains = nil
		return s, step
	})
	for _, name := range []string{"multi-2to5", "multi-1to3", "single-3to4", "single-10to12", "mixed-3to6", "nat-2to5", "zipf-4to8", "rolling-3", "flapping", "lossy-2to5", "stale-dns-2to5"} {
		if o := r.scenario(byName(name), []uint64{1, 2}); o.ok() {
			t.Errorf("%s passes although no connection is drained", name)
		}
	}
}

func TestPlanThatDrainsAtRestFails(t *testing.T) {
	r := withPlan(func(s plan.State, v *plan.View, p *plan.Policy) (plan.State, plan.Step) {
		var step plan.Step
		if s, step = plan.Next(s, v, p); v.Now > world.Begin+2*time.Minute && v.Now < world.Begin+4*time.Minute && len(v.Conns) > 0 {
			step.Drains = append(step.Drains, plan.Drain{ID: v.Conns[0].ID, Reason: reason.Even})
		}
		return s, step
	})
	// A View lists connections in every step in which one may have to be drained.
	for _, name := range []string{"multi-2to5", "few-3to5"} {
		if o := r.scenario(byName(name), []uint64{1, 2}); o.ok() {
			t.Errorf("%s passes although a connection is drained at every tick", name)
		}
	}
}

func TestScenariosAreConsistent(t *testing.T) {
	names := map[string]bool{}
	for _, s := range append(choose(scenarios, anyName), choose(months, anyName)...) {
		if s.Name == "" || names[s.Name] {
			t.Errorf("the name %q is empty or used twice", s.Name)
		}
		names[s.Name] = true
		if len(s.Limits) == 0 || s.For == 0 {
			t.Errorf("%s has no limits or no duration", s.Name)
		}
		if s.Baseline != "" && !names[s.Baseline] {
			t.Errorf("%s has the baseline %s, which must come before it", s.Name, s.Baseline)
		}
		for _, l := range s.Limits {
			if !slices.Contains([]string{"<=", ">=", "="}, l.Op) || l.Relative && s.Baseline == "" {
				t.Errorf("%s has the invalid limit %+v", s.Name, l)
			}
		}
	}
}

// The note of the Zipf scenario claims this.
func TestHeaviestZipfClientIsBelowHalfAPodsShare(t *testing.T) {
	g := byName("zipf-4to8").World.Groups[0]
	sum := 0.0
	for i := range g.Count {
		sum += math.Pow(float64(i+1), -g.Zipf)
	}
	if share := 1 / sum; share > 0.5/8 {
		t.Errorf("the heaviest client makes %.1f %% of all requests, want at most 6.25 %%", 100*share)
	}
}

func TestJudge(t *testing.T) {
	of := func(x ...float64) []*world.Result {
		var rs []*world.Result
		for _, v := range x {
			rs = append(rs, &world.Result{Bytes: v})
		}
		return rs
	}
	for _, tc := range []struct {
		op      string
		limit   float64
		results []float64
		want    bool
	}{
		{"<=", 1, []float64{1, 1, 1.25}, true},
		{"<=", 1, []float64{1, 1, 1.26}, false},
		{"<=", 1, []float64{0.5, 1.1, 1.1}, false},
		{"<=", 0, []float64{0, 0, 1}, false},
		{">=", 1, []float64{2, 1, 0.8}, true},
		{">=", 1, []float64{2, 1, 0.7}, false},
		{"=", 100, []float64{100, 100, 76}, true},
		{"=", 100, []float64{100, 100, 74}, false},
		{"=", 100, []float64{101, 101, 100}, false},
		{"=", 0, []float64{0, 0, 1}, false},
		{"<=", 5, []float64{1, 1, math.Inf(1)}, false},
	} {
		l := Limit{Op: tc.op, Value: tc.limit, Of: func(r *world.Result) float64 { return r.Bytes }}
		if f := judge(l, of(tc.results...), nil); f.ok != tc.want {
			t.Errorf("%v %s %v: got ok %v, want %v", tc.results, tc.op, tc.limit, f.ok, tc.want)
		}
	}
	l := Limit{Op: "<=", Value: 1.2, Relative: true, Of: func(r *world.Result) float64 { return r.Bytes }}
	if f := judge(l, of(11, 12, 13), of(9, 10, 11)); !f.ok || f.median != 1.2 {
		t.Errorf("relative limit: got %+v, want ok with a median of 1.2", f)
	}
}

func TestPlotsAreReproducible(t *testing.T) {
	read := func(dir string) []byte {
		if ok, err := run([]string{"-only", "^single-2to5$", "-plots", dir}, io.Discard, io.Discard); !ok || err != nil {
			t.Fatal(ok, err)
		}
		svg, err := os.ReadFile(filepath.Join(dir, "single-2to5.svg"))
		if err != nil {
			t.Fatal(err)
		}
		return svg
	}
	a, b := read(t.TempDir()), read(t.TempDir())
	if !bytes.Equal(a, b) {
		t.Error("two plots of the same seed differ")
	}
	if n := bytes.Count(a, []byte("<polyline")); n != 6 {
		t.Errorf("got %d lines, want 6: 5 pods and the mean", n)
	}
	if bytes.Contains(a, []byte("NaN")) || bytes.Contains(a, []byte("Inf")) {
		t.Error("a coordinate is NaN or infinite")
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	ok, err := run([]string{"-only", "^multi-2to5$", "-seeds", "2", "-v"}, &out, io.Discard)
	if err != nil || !ok {
		t.Fatal(ok, err, out.String())
	}
	for _, want := range []string{`multi-2to5 .*max/mean <= 1.050 .*pass.*balanced`, `GOAWAYs = 100 +100 +100 +pass`, `seed 2 `} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("the output does not match %q:\n%s", want, out.String())
		}
	}
	if _, err := run([]string{"-only", "nothing of that name"}, io.Discard, io.Discard); err == nil {
		t.Error("got no error for a name that matches no scenario")
	}
}

func TestTrace(t *testing.T) {
	var out strings.Builder
	if ok, err := run([]string{"-only", "^multi-2to5$", "-trace"}, &out, io.Discard); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if want := fmt.Sprintf("reach %d", 100); !strings.Contains(out.String(), want) {
		t.Errorf("the output does not contain %q:\n%s", want, out.String())
	}
}
