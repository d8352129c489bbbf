package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

const row = "%-16s %-29s %10s %10s %9s %-4s  %s\n"

func header(out io.Writer) {
	fmt.Fprintf(out, row, "scenario", "bar", "median", "worst", "even", "", "verdicts at the end")
}

// printOutcome prints a line for each bar, and whether all are kept.
func printOutcome(out io.Writer, o *outcome, verbose bool) bool {
	name, even, said := o.scenario.Name, evenText(o.results), verdictsText(o.results)
	for i := range o.figures {
		f := &o.figures[i]
		pass := "pass"
		if !f.ok {
			pass = "FAIL"
		}
		bar := fmt.Sprintf("%s %s %s", f.bar.What, f.bar.Op, short(f.bar.Limit))
		fmt.Fprintf(out, row, name, bar, short(f.median), short(f.worst), even, pass, said)
		name, even, said = "", "", ""
	}
	if verbose {
		printSeeds(out, o)
	}
	return o.ok()
}

func short(x float64) string {
	switch {
	case math.IsInf(x, 0):
		return "never"
	case x == math.Trunc(x) && math.Abs(x) < 1e9:
		return fmt.Sprintf("%.0f", x)
	case x >= 1000:
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

// evenText is the median of the times to even.
func evenText(results []*world.Result) string {
	var all []float64
	for _, r := range results {
		if r.Even < 0 {
			all = append(all, math.Inf(1))
		} else {
			all = append(all, r.Even.Seconds())
		}
	}
	m := median(all)
	if math.IsInf(m, 0) {
		return "never"
	}
	return seconds(time.Duration(m * float64(time.Second)))
}

func seconds(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return d.Round(time.Second).String()
}

// verdictsText counts the pods of all seeds by what they say.
func verdictsText(results []*world.Result) string {
	count := map[string]int{}
	all := 0
	for _, r := range results {
		for _, v := range r.Verdicts {
			count[string(v.Verdict)]++
			all++
		}
	}
	var out []string
	for _, verdict := range []string{"balanced", "moving", "waiting", "unbalanceable", "overloaded", "stale", "disabled"} {
		if n := count[verdict]; n > 0 {
			out = append(out, fmt.Sprintf("%s %d%%", verdict, (100*n+all/2)/all))
		}
	}
	return strings.Join(out, ", ")
}

func printSeeds(out io.Writer, o *outcome) {
	if o.scenario.Note != "" {
		fmt.Fprintf(out, "    (%s)\n", o.scenario.Note)
	}
	for i, r := range o.results {
		var bars []string
		for _, f := range o.figures {
			bars = append(bars, f.bar.What+" "+short(f.all[i]))
		}
		fmt.Fprintf(out, "    seed %-3d %s | even %s (first %s) max/mean %.3f min/mean %.3f GOAWAYs %s, most in a minute %.2f, above 2.0 %s | %.0f B/s%s\n",
			o.seeds[i], strings.Join(bars, ", "), seconds(r.Even), seconds(r.FirstEven), r.Final.MaxOfMean, r.Final.MinOfMean, reasons(r), inMinute(r), r.Above,
			r.Bytes, planText(r))
	}
	printVerdicts(out, o.results[0])
	fmt.Fprintf(out, "    took %v\n", o.took.Round(10*time.Millisecond))
}

func planText(r *world.Result) string {
	if r.PlanMost == 0 {
		return ""
	}
	return fmt.Sprintf(", plan mean %v 999/1000 %v most %v of %d", r.PlanMean, r.Plan999, r.PlanMost, r.Plans)
}

// reasons counts the GOAWAYs by reason.
func reasons(r *world.Result) string {
	count := make([]int, len(world.Reasons))
	for i := range r.GoAways {
		count[r.GoAways[i].Why]++
	}
	out := []string{fmt.Sprint(len(r.GoAways))}
	for i, n := range count {
		if n > 0 {
			out = append(out, fmt.Sprintf("%s %d", world.Reasons[i], n))
		}
	}
	return strings.Join(out, " ")
}

// printVerdicts prints what the pods say, those that say the same on one line.
func printVerdicts(out io.Writer, r *world.Result) {
	var said []string
	pods := map[string][]string{}
	for _, v := range r.Verdicts {
		text := fmt.Sprintf("%s: %s", v.Verdict, v.Why)
		if !slices.Contains(said, text) {
			said = append(said, text)
		}
		pods[text] = append(pods[text], fmt.Sprintf("%s (%.4g)", v.Pod, v.Load))
	}
	for i, text := range said {
		if i == 8 {
			fmt.Fprintf(out, "    ... and %d more sentences\n", len(said)-i)
			return
		}
		who := pods[text]
		if len(who) > 6 {
			who = append(slices.Clone(who[:6]), fmt.Sprintf("and %d more", len(who)-6))
		}
		fmt.Fprintf(out, "    %s\n        %s\n", text, strings.Join(who, ", "))
	}
}

// trace prints one seed, each second in which something changes.
func trace(out io.Writer, s *Scenario, seed uint64) {
	cfg := s.config(seed)
	cfg.Series = true
	r := s.play(cfg)
	fmt.Fprintf(out, "%s, seed %d; seconds after the change, GOAWAYs since the line before, max/mean, min/mean, load of each pod (- does not serve)\n", s.Name, seed)
	last, sent := "", 0
	for _, m := range r.Series {
		if m.At < warm {
			continue
		}
		from := sent
		for sent < len(r.GoAways) && r.GoAways[sent].At <= m.At {
			sent++
		}
		line := loadsText(m.Loads)
		if line == last && from == sent {
			continue
		}
		fmt.Fprintf(out, "%8.0f %6d %6.2f %6.2f  %s\n", (m.At - warm).Seconds(), sent-from, m.MaxOfMean, m.MinOfMean, line)
		last = line
	}
	fmt.Fprintf(out, "even after %s (first %s), GOAWAYs %s (%.3f per connection), max/mean %.3f, min/mean %.3f\n",
		seconds(r.Even), seconds(r.FirstEven), reasons(r), perConn(r), r.Final.MaxOfMean, r.Final.MinOfMean)
	printVerdicts(out, r)
}

func loadsText(loads []float64) string {
	var b strings.Builder
	for i, load := range loads {
		if i == 40 {
			fmt.Fprintf(&b, " ... %d pods", len(loads))
			break
		}
		if load < 0 {
			b.WriteString("    -")
			continue
		}
		fmt.Fprintf(&b, " %4.0f", load)
	}
	return b.String()
}
