package main

import (
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

var (
	// figures are in a line that go test prints every three seconds and at the end.
	figures = regexp.MustCompile(`execs: (\d+) .*new interesting: (\d+) \(total: (\d+)\)`)
	// finding is the file that go test has written, below the folder of the package.
	finding = regexp.MustCompile(`Failing input written to (\S+)`)
)

// read takes the figures and the finding from the output. err is what go test returned.
func (r *result) read(err error) {
	if all := figures.FindAllStringSubmatch(r.output, -1); len(all) > 0 {
		last := all[len(all)-1]
		r.execs, r.fresh, r.corpus = number(last[1]), number(last[2]), number(last[3])
	}
	if err == nil {
		return
	}
	r.failed = err.Error()
	if m := finding.FindStringSubmatch(r.output); m != nil {
		r.failed = filepath.Join(r.dir, filepath.FromSlash(m[1]))
	}
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // the expression matches digits only
	return n
}

// printTable prints a line for each target and returns how many failed.
func printTable(w io.Writer, results []result) (failed int) {
	const line = "%12d  %10d  %7d  %6v  %s\n"
	fmt.Fprintf(w, "\n%12s  %10s  %7s  %6s  %s\n", "executions", "new inputs", "corpus", "time", "target")
	var all result
	for _, r := range results {
		fmt.Fprintf(w, line, r.execs, r.fresh, r.corpus, r.took.Round(time.Second), r.pkg+"."+r.name)
		all.execs, all.fresh, all.corpus, all.took = all.execs+r.execs, all.fresh+r.fresh, all.corpus+r.corpus, all.took+r.took
	}
	fmt.Fprintf(w, line, all.execs, all.fresh, all.corpus, all.took.Round(time.Second), "in all")
	for _, r := range results {
		if r.failed != "" {
			failed++
			fmt.Fprintf(w, "FAILED: %s.%s: %s\n", r.pkg, r.name, r.failed)
		}
	}
	return failed
}
