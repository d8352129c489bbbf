package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The table stands between these lines of the page.
const (
	tableBegin = "<!-- soak -->\n"
	tableEnd   = "<!-- /soak -->\n"
)

// writeTable replaces the table of a page.
func writeTable(page string, st *state) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", page, strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	return os.WriteFile(page, []byte(before+tableBegin+st.markdown()+tableEnd+after), 0o644)
}

func (st *state) markdown() string {
	all := st.sum()
	parts := []string{
		fmt.Sprintf("%s calls of %d rows in %s hours, %s GOAWAYs. %s calls failed, %s in a million. Slices that broke a limit: %s.\n",
			grouped(all.Calls), len(st.Rows), hours(st.Seconds), grouped(all.GoAways), grouped(all.Failed),
			perMillion(&all), grouped(all.Broken)),
		st.rowTable(), st.errorTable(), st.breachTable(), st.commitTable(),
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n")
}

func (st *state) rowTable() string {
	t := &table{}
	for _, name := range st.names() {
		t.addRow(name, st.Rows[name])
	}
	strict := st.sumOf(func(t *tally) bool { return t.Why == "" })
	t.addRow("rows that may lose none", &strict)
	all := st.sum()
	t.addRow("in all", &all)
	return t.under("client", "version", "calls", "hours", "GOAWAYs", "failed", "failed per million", "calls may fail because")
}

func (st *state) errorTable() string {
	t := &table{}
	for _, name := range st.names() {
		errs := st.Rows[name].Errors
		for _, text := range slices.Sorted(maps.Keys(errs)) {
			t.add(name, grouped(errs[text]), text)
		}
	}
	return t.under("client", "failed", "error")
}

func (st *state) breachTable() string {
	t := &table{}
	for _, name := range st.names() {
		for _, br := range st.Rows[name].Breaches {
			t.add(name, br.Time.Format(time.DateTime), br.Commit, br.Text)
		}
	}
	return t.under("slice that broke a limit", "time (UTC)", "commit", "what the test said")
}

func (st *state) commitTable() string {
	t := &table{}
	for _, c := range st.Commits {
		if c.Calls > 0 {
			t.add(c.ID, grouped(c.Calls))
		}
	}
	return t.under("commit", "calls")
}

// table is a table in Markdown, without its head.
type table struct{ lines strings.Builder }

func (t *table) add(cells ...string) {
	for _, text := range cells {
		text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
		t.lines.WriteString("| " + text + " ")
	}
	t.lines.WriteString("|\n")
}

func (t *table) addRow(name string, c *tally) {
	t.add(name, strings.Join(c.Versions, ", "), grouped(c.Calls), hours(float64(c.Seconds)),
		grouped(c.GoAways), grouped(c.Failed), perMillion(c), c.Why)
}

// under returns the table with its head. A table without lines is empty.
func (t *table) under(columns ...string) string {
	if t.lines.Len() == 0 {
		return ""
	}
	head := &table{}
	head.add(columns...)
	return head.lines.String() + strings.Repeat("|---", len(columns)) + "|\n" + t.lines.String()
}

func hours(seconds float64) string { return strconv.FormatFloat(seconds/3600, 'f', 2, 64) }

func perMillion(t *tally) string {
	if t.Failed == 0 {
		return "0"
	}
	return strconv.FormatFloat(1e6*float64(t.Failed)/float64(t.Calls), 'f', 2, 64)
}

// grouped writes a number with a comma before each group of three digits.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
