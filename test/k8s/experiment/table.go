package experiment

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Result is the result of one fleet.
type Result struct {
	// Title is the head of its column.
	Title string
	// Channels is the number of channels of all its clients.
	Channels int
	// ByDNS is set if its clients learn of new pods by querying DNS after a GOAWAY. Then the
	// time is also counted from when DNS answers in full. Other clients watch the pods, or
	// notice them by chance.
	ByDNS bool
	// Figures are the figures by phase.
	Figures map[string]Figures
}

// Table returns a Markdown table with one column per result.
func Table(results []Result) string {
	t := &table{results: results}
	t.row("", func(r *Result) string { return r.Title })
	t.out.WriteString("|---" + strings.Repeat("|---", len(results)) + "|\n")
	t.growth(PhaseGrow)
	t.phase(PhaseShrink, func(head string) {
		t.row(head+": failed RPCs", t.of(PhaseShrink, func(_ *Result, f *Figures) string { return failedText(f) }))
	})
	t.growth(PhaseRegrow)
	t.phase(PhaseRest, func(string) {
		t.row("at rest: connections made in an hour", t.of(PhaseRest, func(_ *Result, f *Figures) string {
			return strconv.FormatFloat(f.PerHour(f.Opened), 'f', 0, 64)
		}))
		t.row("at rest: failed RPCs", t.of(PhaseRest, func(_ *Result, f *Figures) string { return failedText(f) }))
	})
	return t.out.String()
}

type table struct {
	results []Result
	out     strings.Builder
}

func (t *table) row(head string, cell func(*Result) string) {
	t.out.WriteString(strings.TrimSuffix("| "+head, " ") + " |")
	for i := range t.results {
		fmt.Fprintf(&t.out, " %s |", cell(&t.results[i]))
	}
	t.out.WriteString("\n")
}

// of returns a function for the cell of one phase. The cell is empty if the fleet did not have
// the phase.
func (t *table) of(phase string, show func(*Result, *Figures) string) func(*Result) string {
	return func(r *Result) string {
		f, ok := r.Figures[phase]
		if !ok {
			return ""
		}
		return show(r, &f)
	}
}

// phase writes rows if any fleet had the phase.
func (t *table) phase(phase string, write func(head string)) {
	for i := range t.results {
		if f, ok := t.results[i].Figures[phase]; ok {
			write(phaseText(&f))
			return
		}
	}
}

func phaseText(f *Figures) string {
	return fmt.Sprintf("%d to %d", f.From, f.To)
}

func (t *table) growth(phase string) {
	t.phase(phase, func(head string) {
		t.row(head+": even, from the last ready endpoint", t.of(phase, func(_ *Result, f *Figures) string {
			return evenText(f.Growth.Even)
		}))
		t.row(head+": even, from DNS in full and resolvers that may ask", t.of(phase, func(r *Result, f *Figures) string {
			if !r.ByDNS {
				return "-"
			}
			return evenText(f.Growth.AfterDNS)
		}))
		t.row(head+": GOAWAYs per channel", t.of(phase, func(r *Result, f *Figures) string {
			return fmt.Sprintf("%.2f", r.perChannel(f))
		}))
		t.row(head+": connections made", t.of(phase, func(_ *Result, f *Figures) string { return strconv.Itoa(f.Opened) }))
		t.row(head+": failed RPCs", t.of(phase, func(_ *Result, f *Figures) string { return failedText(f) }))
	})
}

// StaggerTable returns a Markdown table with one row per result, of the phase of growth.
func StaggerTable(results []Result) string {
	var out strings.Builder
	out.WriteString("| 2 to 5 | even, from the last ready endpoint | GOAWAYs per channel | failed RPCs |\n|---|---|---|---|\n")
	for i := range results {
		r := &results[i]
		f := r.Figures[PhaseGrow]
		fmt.Fprintf(&out, "| %s | %s | %.2f | %s |\n", r.Title, evenText(f.Growth.Even), r.perChannel(&f), failedText(&f))
	}
	return out.String()
}

func (r *Result) perChannel(f *Figures) float64 { return float64(f.GoAways) / float64(r.Channels) }

func evenText(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func failedText(f *Figures) string { return fmt.Sprintf("%d of %d", f.Failed, f.Calls) }

// Texts lists the failures of a phase, the most frequent first.
func (f *Figures) Texts() string {
	texts := slices.SortedFunc(maps.Keys(f.Failures), func(a, b string) int { return f.Failures[b] - f.Failures[a] })
	for i, text := range texts {
		texts[i] = fmt.Sprintf("%d x %s", f.Failures[text], text)
	}
	return strings.Join(texts, ", ")
}

// WriteBetween replaces the text between <!-- mark --> and <!-- /mark --> in a file.
func WriteBetween(file, mark, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), "<!-- "+mark+" -->\n")
	_, after, ok2 := strings.Cut(rest, "<!-- /"+mark+" -->")
	if !ok || !ok2 {
		return fmt.Errorf("%s lacks <!-- %s --> or <!-- /%[2]s -->", file, mark)
	}
	return os.WriteFile(file, []byte(before+"<!-- "+mark+" -->\n"+text+"<!-- /"+mark+" -->"+after), 0o644)
}

// SingleHomedResult is the result of one fleet with single-homed connections.
type SingleHomedResult struct {
	// Title is the head of its column.
	Title string
	// Connections is the number of connections.
	Connections int
	*SingleHomed
}

// PerConnection returns the GOAWAYs per connection.
func (r *SingleHomedResult) PerConnection() float64 {
	return float64(r.GoAways) / float64(r.Connections)
}

// SingleHomedTable returns a Markdown table with one column per result.
func SingleHomedTable(results []SingleHomedResult) string {
	var out strings.Builder
	row := func(head string, cell func(*SingleHomedResult) string) {
		fmt.Fprintf(&out, "| %s |", head)
		for i := range results {
			fmt.Fprintf(&out, " %s |", cell(&results[i]))
		}
		out.WriteString("\n")
	}
	row(phaseText(&results[0].Figures), func(r *SingleHomedResult) string { return r.Title })
	out.WriteString("|---" + strings.Repeat("|---", len(results)) + "|\n")
	row("in the band, from the last ready endpoint", func(r *SingleHomedResult) string { return evenText(r.Even) })
	row("connections per pod at the end", func(r *SingleHomedResult) string {
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(r.PerPod), " ", ", "), "[]")
	})
	row("GOAWAYs per connection", func(r *SingleHomedResult) string { return fmt.Sprintf("%.2f", r.PerConnection()) })
	row("GOAWAYs after that", func(r *SingleHomedResult) string { return strconv.Itoa(r.Late) })
	row("failed RPCs", func(r *SingleHomedResult) string { return failedText(&r.Figures) })
	return out.String()
}
