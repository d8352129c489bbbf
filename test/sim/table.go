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

const row = "%-17s %-31s %9s %9s %9s %-4s  %s  %s\n"

func header(out io.Writer) {
	fmt.Fprintf(out, row, "scenario", "limit", "median", "worst", "even", "", "final verdicts", "took")
}

// printOutcome prints one line per limit and reports whether the outcome is as expected.
func printOutcome(out io.Writer, o *outcome, verbose bool) bool {
	took := o.took.Round(100 * time.Millisecond).String()
	name, even, verdicts := o.scenario.Name, evenText(o.results), verdictsText(o.results)
	if n := len(o.scenario.Name); n > 17 { // a line of its own, so that the columns stay
		fmt.Fprintln(out, name)
		name = ""
	}
	for i := range o.figures {
		f := &o.figures[i]
		pass := "pass"
		switch {
		case f.limit.Beyond != "":
			pass = map[bool]string{true: "HELD", false: "far"}[f.ok]
		case !f.ok && o.scenario.Fails == "":
			pass = "FAIL"
		case !f.ok:
			pass = "miss"
		}
		limit := fmt.Sprintf("%s %s %s", f.limit.What, f.limit.Op, short(f.limit.Value))
		fmt.Fprintf(out, row, name, limit, short(f.median), short(f.worst), even, pass, verdicts, took)
		name, even, verdicts, took = "", "", "", ""
	}
	printMark(out, o)
	if verbose {
		printSeeds(out, o)
	}
	return o.expected()
}

// printMark compares the outcome with what the scenario's mark predicts.
func printMark(out io.Writer, o *outcome) {
	switch fails := o.scenario.Fails; {
	case fails == "":
	case o.ok():
		fmt.Fprintf(out, "    ERROR: it keeps its limits, but is marked as failing (%s): take the mark away\n", fails)
	default:
		fmt.Fprintf(out, "    does not hold yet, as expected: %s\n", fails)
	}
	for _, f := range o.figures {
		if f.ok && f.limit.Beyond != "" {
			fmt.Fprintf(out, "    ERROR: %s is kept, but is marked as beyond reach (%s)\n", f.limit.What, f.limit.Beyond)
		}
	}
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

// evenText formats the median of the times to even.
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

// verdictsText formats the share of each verdict among the pods of all seeds.
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
	for _, verdict := range []string{"balanced", "moving", "checking", "waiting", "unbalanceable", "overloaded", "stale", "disabled"} {
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
		var limits []string
		for _, f := range o.figures {
			limits = append(limits, f.limit.What+" "+short(f.all[i]))
		}
		fmt.Fprintf(out, "    seed %-3d %s | even %s (first %s) max/mean %.3f min/mean %.3f GOAWAYs %s, most per minute %.2f, above 2x mean for %s | %.0f B/s%s\n",
			o.seeds[i], strings.Join(limits, ", "), seconds(r.Even), seconds(r.FirstEven), r.Final.MaxOfMean, r.Final.MinOfMean, reasons(r), inMinute(r), r.Above,
			r.Bytes, planText(r))
	}
	printVerdicts(out, o.results[0])
	fmt.Fprintf(out, "    took %v\n", o.took.Round(10*time.Millisecond))
}

func planText(r *world.Result) string {
	if r.PlanMost == 0 {
		return ""
	}
	return fmt.Sprintf(", plan mean %v p99.9 %v max %v of %d", r.PlanMean, r.Plan999, r.PlanMost, r.Plans)
}

// reasons formats the number of GOAWAYs, in total and by reason.
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

// printVerdicts prints each distinct verdict with the pods that report it.
func printVerdicts(out io.Writer, r *world.Result) {
	var texts []string
	pods := map[string][]string{}
	for _, v := range r.Verdicts {
		text := fmt.Sprintf("%s: %s", v.Verdict, v.Why)
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		pods[text] = append(pods[text], fmt.Sprintf("%s (%.4g)", v.Pod, v.Load))
	}
	for i, text := range texts {
		if i == 8 {
			fmt.Fprintf(out, "    ... and %d more sentences\n", len(texts)-i)
			return
		}
		names := pods[text]
		if len(names) > 6 {
			names = append(slices.Clone(names[:6]), fmt.Sprintf("and %d more", len(names)-6))
		}
		fmt.Fprintf(out, "    %s\n        %s\n", text, strings.Join(names, ", "))
	}
}

// trace runs one seed and prints a line for every second in which something changes.
func trace(out io.Writer, s *Scenario, seed uint64) {
	cfg := s.config(seed)
	cfg.Series = true
	r := s.play(cfg)
	fmt.Fprintf(out, "%s, seed %d; columns: seconds after the change, GOAWAYs since the previous line, max/mean, min/mean, load of each pod (-: not serving)\n", s.Name, seed)
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
