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

// evenLimit is what counts as even: the fullest pod has at most so many times the
// mean of all. stays is how long the calls must stay so from the first even
// second on.
const (
	evenLimit = 1.1
	stays     = 5 * time.Second
)

// figure is what came of one phase in one fleet.
type figure struct {
	phase string
	start time.Time
	// zero is the moment that times count from; for a growth, when the clients' DNS
	// had the new pods in full.
	zero time.Time

	grew    bool
	even    time.Duration // from zero
	evenOK  bool
	early   int // GOAWAYs before zero
	late    int // GOAWAYs after it was even for a while
	goaways int
	opened  int

	failed     int
	failedKind []fleet.Failure

	left   time.Duration // shrink: until all processes had ended
	exits  []int         // shrink: their exit statuses
	killed bool

	verdicts map[string]string
}

// promised is how evenkeel must do after each growth.
const promisedEven = 5 * time.Second

// broken lists each promise that f breaks, for the fleet with evenkeel.
func (f *figure) broken(o *options, channels int, first bool) []string {
	var out []string
	fail := func(bad bool, format string, args ...any) {
		if bad {
			out = append(out, f.phase+": "+fmt.Sprintf(format, args...))
		}
	}
	if n := f.lost(); n > 0 {
		fail(true, "%d RPCs failed: %s", n, describe(f.failedKind))
	}
	for i, code := range f.exits {
		fail(code != 0, "stopping pod %d of %d exited with status %d", i+1, len(f.exits), code)
	}
	if !f.grew {
		return out
	}
	if o.dnsNever {
		fail(f.goaways > 0, "%d GOAWAYs although DNS never answered with the new pods", f.goaways)
		// Those that were there before are the ones to act.
		for _, pod := range slices.Sorted(maps.Keys(f.verdicts))[:min(small, len(f.verdicts))] {
			fail(f.verdicts[pod] != "waiting", "%s says %q, want waiting", pod, f.verdicts[pod])
		}
		return out
	}
	fail(f.early > 0, "%d GOAWAYs before DNS answered in full", f.early)
	fail(!f.evenOK, "never even")
	fail(f.evenOK && f.even > promisedEven, "even after %.1f s, want at most %.0f", f.even.Seconds(), promisedEven.Seconds())
	fail(first && f.goaways != channels, "%d GOAWAYs, want one for each of %d channels", f.goaways, channels)
	fail(f.late > 0, "%d GOAWAYs when it was even already", f.late)
	return out
}

// lost is how many failed RPCs nothing excuses: those in flight on a killed pod
// could not be saved by anybody.
func (f *figure) lost() int {
	n := f.failed
	for _, one := range f.failedKind {
		if f.killed && wasInFlight(one.Text) {
			n -= one.Count
		}
	}
	return n
}

// wasInFlight: the call had been sent when its connection broke. A call that had
// not is sent again by grpc itself and does not fail.
func wasInFlight(text string) bool {
	return strings.HasPrefix(text, "Unavailable: ") &&
		(strings.Contains(text, "error reading from server") || strings.Contains(text, "connection reset") ||
			strings.Contains(text, "transport is closing"))
}

func describe(all []fleet.Failure) string {
	var parts []string
	for i, one := range all {
		if i == 3 {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, fmt.Sprintf("%d x %s", one.Count, one.Text))
	}
	return strings.Join(parts, ", ")
}

// table shows the figures of all fleets, a column for each.
func table(columns []*column, figures map[string][]figure) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	row := func(head string, cell func(*column) string) {
		fmt.Fprint(w, head)
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
		// Pods that go take what they counted last with them.
		if f.grew {
			row("  GOAWAYs", of(func(f *figure) string { return strconv.Itoa(f.goaways) }))
			row("  connections opened", of(func(f *figure) string { return strconv.Itoa(f.opened) }))
		}
		row("  failed RPCs", of(func(f *figure) string { return strconv.Itoa(f.failed) }))
	}
	_ = w.Flush()
	return strings.TrimRight(out.String(), "\n")
}

// headline is the figure that the phase is about.
func (f *figure) headline() string {
	switch {
	case f.grew && f.evenOK:
		return fmt.Sprintf("even after %.1f s", f.even.Seconds())
	case f.grew:
		return "never even"
	case len(f.exits) > 0:
		return fmt.Sprintf("gone after %.1f s", f.left.Seconds())
	}
	return fmt.Sprintf("%d in flight lost", f.failed-f.lost())
}
