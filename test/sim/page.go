package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// The table of months stands between these lines of docs/simulation.md.
const (
	tableBegins = "<!-- months -->\n"
	tableEnds   = "<!-- /months -->"
)

// notYet marks a limit that does not hold.
const notYet = "**does not hold yet**"

// writePage puts these outcomes into the table of a page. Other scenarios of months keep their
// rows.
func writePage(file string, outcomes []*outcome) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, found := strings.Cut(string(page), tableBegins)
	_, tail, ends := strings.Cut(rest, tableEnds)
	if !found || !ends {
		return fmt.Errorf("%s has no table between %q and %q", file, strings.TrimSpace(tableBegins), tableEnds)
	}
	table, _, _ := strings.Cut(rest, tableEnds)
	rows := rowsByName(table)
	for _, o := range outcomes {
		rows[o.scenario.Name] = rowsOf(o)
	}
	var out strings.Builder
	out.WriteString("| scenario | limit | today: median (worst) | why |\n|---|---|---|---|\n")
	for i := range months {
		out.WriteString(rows[months[i].Name])
	}
	return os.WriteFile(file, []byte(head+tableBegins+out.String()+tableEnds+tail), 0o644)
}

var nameInRow = regexp.MustCompile("^\\| `([^`]+)`: ")

// rowsByName splits a table into the rows of each scenario.
func rowsByName(table string) map[string]string {
	rows, name := map[string]string{}, ""
	for row := range strings.Lines(table) {
		if m := nameInRow.FindStringSubmatch(row); m != nil {
			name = m[1]
		}
		if name != "" {
			rows[name] += row
		}
	}
	return rows
}

// rowsOf is a row for each limit.
func rowsOf(o *outcome) string {
	var table strings.Builder
	name := fmt.Sprintf("`%s`: %s", o.scenario.Name, o.scenario.Note)
	for i := range o.figures {
		f := &o.figures[i]
		today, why := short(f.median), ""
		if short(f.worst) != today {
			today += " (" + short(f.worst) + ")"
		}
		switch {
		case f.limit.Beyond != "":
			why = "beyond reach: " + f.limit.Beyond
		case !f.ok:
			today += ": " + notYet
			why = o.scenario.Fails
		}
		fmt.Fprintf(&table, "| %s | %s %s %s | %s | %s |\n", name, f.limit.What, f.limit.Op, short(f.limit.Value), today, why)
		name = ""
	}
	return table.String()
}
