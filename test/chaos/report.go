package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// report is what a run has shown.
type report struct {
	took            time.Duration
	tally           *tally
	executed, twice uint64
	dialed, resets  uint64
	census          census // at the end
	left            int    // connections that are open at the end
	leaked          error  // goroutines that run at the end
	ended           error  // what Run and Serve returned
}

// drainsPerSecond is how many GOAWAYs a second a run must have, or it was no chaos. The
// four pods are drained 20 times a second each, and have two to eight connections each.
const drainsPerSecond = 20

// broken returns the limits that the run has exceeded.
func (r *report) broken() (all []string) {
	limit := func(ok bool, format string, args ...any) {
		if !ok {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	limit(r.tally.of(lost) == 0, "%d RPCs were lost", r.tally.of(lost))
	limit(r.tally.of(wrong) == 0, "%d RPCs ended well with a wrong answer", r.tally.of(wrong))
	limit(r.twice == 0, "%d RPCs were executed more than once", r.twice)
	limit(r.left == 0, "%d connections are left", r.left)
	limit(r.leaked == nil, "goroutines are left: %v", r.leaked)
	limit(r.ended == nil, "a pod ended with %v", r.ended)
	least := uint64(drainsPerSecond * r.took.Seconds())
	limit(r.census.goaways >= least, "%d GOAWAYs in %.0f s: want %d, or it was no chaos", r.census.goaways, r.took.Seconds(), least)
	limit(r.resets > 0 && r.tally.of(broken) > 0, "%d resets broke %d RPCs: want some", r.resets, r.tally.of(broken))
	limit(r.tally.of(timedOut) > 0, "no RPC missed its deadline: want some")
	limit(r.tally.of(canceled) > 0, "no RPC was canceled: want some")
	return all
}

// print prints the figures, what was lost, and the limits that were exceeded.
func (r *report) print(w io.Writer) {
	n := r.tally.total()
	fmt.Fprintf(w, "\n%d RPCs in %.0f s (%.0f/s), %d executed\n", n, r.took.Seconds(), float64(n)/r.took.Seconds(), r.executed)
	for k := range kinds {
		fmt.Fprintf(w, "  %-28s %10d\n", kinds[k].name, r.tally.byKind[k].Load())
	}
	fmt.Fprintf(w, "outcomes\n")
	for o, name := range []string{"answered", "own deadline", "own cancellation", "connection reset", "lost", "wrong answer"} {
		fmt.Fprintf(w, "  %-28s %10d\n", name, r.tally.of(outcome(o)))
	}
	fmt.Fprintf(w, "  %-28s %10d\n", "executed more than once", r.twice)
	fmt.Fprintf(w, "connections\n  %-28s %10d\n  %-28s %10d\n  %-28s %10d\n", "dialed", r.dialed, "GOAWAYs", r.census.goaways, "resets", r.resets)
	for _, how := range slices.Sorted(maps.Keys(r.census.closed)) {
		fmt.Fprintf(w, "  %-28s %10d\n", "closed: "+how, r.census.closed[how])
	}
	fmt.Fprintf(w, "  %-28s %10d\n", "left", r.left)
	for _, d := range r.tally.details {
		fmt.Fprintln(w, d)
	}
	for _, b := range r.broken() {
		fmt.Fprintln(w, "FAILED:", b)
	}
}
