package demo

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

const (
	// Calls are even if the busiest pod answers at most evenLimit times the mean.
	evenLimit = 1.1
	// evenFor is how long calls must stay even, from the first even second on.
	evenFor = 5 * time.Second
)

// figure is the measurement of one phase in one fleet.
type figure struct {
	phase string
	start time.Time
	// zero is the moment that times count from. For a growth, it is when the clients'
	// DNS has all new pods.
	zero time.Time

	grew    bool
	even    time.Duration // from zero
	evenOK  bool
	early   int // GOAWAYs before zero
	late    int // GOAWAYs after the calls had been even for evenFor
	goaways int
	opened  int

	failed     int
	failedKind []fleet.Failure

	stopTook time.Duration // of a shrink: until all stopped pods had exited
	exits    []int         // of a shrink: their exit statuses
	killed   bool

	verdicts map[string]string
}

// promisedEven is how soon calls must be even with evenkeel after each growth.
const promisedEven = 5 * time.Second

// broken lists the promises that f breaks. f must be of the fleet with evenkeel.
func (f *figure) broken(o *options, channels int, first bool) []string {
	var out []string
	fail := func(bad bool, format string, args ...any) {
		if bad {
			out = append(out, f.phase+": "+fmt.Sprintf(format, args...))
		}
	}
	if n := f.avoidable(); n > 0 {
		fail(true, "%d RPCs failed: %s", n, describe(f.failedKind))
	}
	for i, code := range f.exits {
		fail(code != 0, "stopping pod %d of %d exited with status %d", i+1, len(f.exits), code)
	}
	if !f.grew {
		return out
	}
	if o.dnsNever {
		fail(f.goaways > 0, "%d GOAWAYs although DNS never listed the new pods", f.goaways)
		// Only the pods from before the growth have connections to drain.
		for _, pod := range slices.Sorted(maps.Keys(f.verdicts))[:min(small, len(f.verdicts))] {
			fail(f.verdicts[pod] != "waiting", "the verdict of %s is %q, want waiting", pod, f.verdicts[pod])
		}
		return out
	}
	fail(f.early > 0, "%d GOAWAYs before DNS listed all new pods", f.early)
	fail(!f.evenOK, "the calls were never even")
	fail(f.evenOK && f.even > o.promise(), "even after %.1f s, want at most %.0f s", f.even.Seconds(), o.promise().Seconds())
	if o.singleHomed() {
		// A drained connection may land on a full pod again.
		fail(f.goaways > 3*channels, "%d drains, want at most three for each of %d connections", f.goaways, channels)
		return out
	}
	fail(first && f.goaways != channels, "%d GOAWAYs, want one for each of %d channels", f.goaways, channels)
	fail(f.late > 0, "%d GOAWAYs after the calls were even", f.late)
	return out
}

// avoidable returns the number of failed RPCs that break the promise. RPCs in flight on a
// killed pod do not: nothing can save them.
func (f *figure) avoidable() int {
	n := f.failed
	for _, failure := range f.failedKind {
		if f.killed && wasInFlight(failure.Text) {
			n -= failure.Count
		}
	}
	return n
}

// wasInFlight reports whether the call had been sent when its connection broke. grpc
// retries a call that had not been sent, so that it does not fail.
func wasInFlight(text string) bool {
	return strings.HasPrefix(text, "Unavailable: ") &&
		(strings.Contains(text, "error reading from server") || strings.Contains(text, "connection reset") ||
			strings.Contains(text, "transport is closing"))
}

func describe(all []fleet.Failure) string {
	var parts []string
	for i, failure := range all {
		if i == 3 {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, fmt.Sprintf("%d x %s", failure.Count, failure.Text))
	}
	return strings.Join(parts, ", ")
}

// table shows the figures of all fleets, with one column per fleet.
func table(columns []*column, figures map[string][]figure) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	row := func(title string, cell func(*column) string) {
		fmt.Fprint(w, title)
		for _, c := range columns {
			fmt.Fprint(w, "\t", cell(c))
		}
		fmt.Fprintln(w)
	}
	row("", func(c *column) string { return c.title })
	for i := range figures[columns[0].id] {
		of := func(show func(*figure) string) func(*column) string {
			return func(c *column) string { return show(&figures[c.id][i]) }
		}
		f := &figures[columns[0].id][i]
		row(f.phase, of(func(f *figure) string { return f.headline() }))
		// Without a growth, pods end in this phase, and their last counts are unknown.
		if f.grew {
			row("  GOAWAYs", of(func(f *figure) string { return strconv.Itoa(f.goaways) }))
			row("  connections opened", of(func(f *figure) string { return strconv.Itoa(f.opened) }))
		}
		row("  failed RPCs", of(func(f *figure) string { return strconv.Itoa(f.failed) }))
	}
	_ = w.Flush()
	return strings.TrimRight(out.String(), "\n")
}

// headline is the main figure of the phase.
func (f *figure) headline() string {
	switch {
	case f.grew && f.evenOK:
		return fmt.Sprintf("even after %.1f s", f.even.Seconds())
	case f.grew:
		return "never even"
	case len(f.exits) > 0:
		return fmt.Sprintf("stopped after %.1f s", f.stopTook.Seconds())
	}
	return fmt.Sprintf("%d in-flight RPCs lost", f.failed-f.avoidable())
}
