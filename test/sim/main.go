// Command sim runs the shipped planning code on simulated fleets and compares the results
// with the limits that the project promises to keep.
//
//	go run ./test/sim                              the table: 20 seeds of each scenario
//	go run ./test/sim -only '^single-10to' -v      one line per seed
//	go run ./test/sim -only '^multi-2to5$' -trace  one seed, second by second
//	go run ./test/sim -plots docs/sim              only the plots
//	go run ./test/sim -months -seeds 3             fleets over hours and days, and those that fail
//	go run ./test/sim -months -only NAME -seeds 3 -v
//	                                               one of them, with a transcript of its first seed
//
// It exits with status 1 if a limit is exceeded, or if a scenario that is marked as failing keeps
// its limits.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"
)

type options struct {
	only     *regexp.Regexp
	set      string
	seeds    int
	first    uint64
	verbose  bool
	trace    bool
	plots    string
	page     string
	parallel int
	lines    int
	from     time.Duration
	profile  string
}

func main() {
	debug.SetGCPercent(30) // a million connections must fit into a gigabyte
	ok, err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("sim", flag.ContinueOnError)
	f.SetOutput(stderr)
	only := f.String("only", "", "run only the scenarios whose names match this regular expression")
	f.StringVar(&o.set, "set", "", "the `set` of scenarios: empty for those of the promises, or months")
	months := f.Bool("months", false, "the same as -set months")
	f.IntVar(&o.seeds, "seeds", 20, "seeds per scenario; large scenarios run fewer")
	f.Uint64Var(&o.first, "seed", 1, "first seed")
	f.BoolVar(&o.verbose, "v", false, "print one line per seed, and for the first seed a transcript and the pods' final verdicts")
	f.IntVar(&o.lines, "lines", 300, "with -v: the number of lines of a transcript")
	f.DurationVar(&o.from, "from", 0, "with -v: where the transcript begins, since the change")
	f.BoolVar(&o.trace, "trace", false, "run one seed and print loads and GOAWAYs every second")
	f.StringVar(&o.plots, "plots", "", "write SVG plots of some scenarios to this `folder`")
	f.StringVar(&o.page, "page", "", "write the table of months into this `file`, docs/simulation.md")
	f.IntVar(&o.parallel, "j", runtime.GOMAXPROCS(0), "seeds to run at the same time")
	f.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile to this `file`")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *months {
		o.set = "months"
	}
	var err error
	o.only, err = regexp.Compile(*only)
	o.seeds, o.parallel = max(o.seeds, 1), max(o.parallel, 1)
	return o, err
}

func run(args []string, stdout, stderr io.Writer) (ok bool, err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return false, err
	}
	chosen := choose(sets[o.set], o.only)
	if len(chosen) == 0 {
		return false, fmt.Errorf("no scenario of set %q matches %q", o.set, o.only)
	}
	if o.trace {
		for _, s := range chosen {
			trace(stdout, s, o.first)
		}
		return true, nil
	}
	if o.plots != "" {
		return true, writePlots(o.plots, chosen, o.first)
	}
	if o.profile != "" {
		stop, err := profile(o.profile)
		if err != nil {
			return false, err
		}
		defer stop()
	}
	outcomes := play(chosen, &o, stdout, stderr)
	if o.page != "" {
		if err := writePage(o.page, outcomes); err != nil {
			return false, err
		}
	}
	return summarize(stdout, outcomes), nil
}

// play runs the scenarios and prints their tables.
func play(chosen []*Scenario, o *options, stdout, stderr io.Writer) []*outcome {
	runner := newRunner(o.parallel, stderr)
	if o.verbose {
		runner.transcript = &transcript{from: o.from, most: o.lines}
	}
	var all []*outcome
	header(stdout)
	for _, s := range chosen {
		out := runner.scenario(s, s.seedsOf(o.first, o.seeds))
		if o.verbose {
			runner.transcript.print(stdout)
		}
		printOutcome(stdout, out, o.verbose)
		all = append(all, out)
	}
	return all
}

// summarize names the scenarios whose outcomes are not as expected, and reports whether there are
// none.
func summarize(out io.Writer, outcomes []*outcome) (ok bool) {
	var wrong []string
	for _, o := range outcomes {
		if !o.expected() {
			wrong = append(wrong, o.scenario.Name)
		}
	}
	if len(wrong) > 0 {
		fmt.Fprintf(out, "not as expected: %d of %d: %s\n", len(wrong), len(outcomes), strings.Join(wrong, " "))
	}
	return len(wrong) == 0
}

func profile(file string) (stop func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); f.Close() }, pprof.StartCPUProfile(f)
}

func choose(set []Scenario, only *regexp.Regexp) []*Scenario {
	var chosen []*Scenario
	for i := range set {
		if only.MatchString(set[i].Name) {
			chosen = append(chosen, &set[i])
		}
	}
	return chosen
}
