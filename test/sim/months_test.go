package main

import (
	"flag"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

var withMonths = flag.Bool("months", false, "run the scenarios that do not hold yet too")

var anyName = regexp.MustCompile("")

// seedsOfMonths is small, since these scenarios last for hours and days.
const seedsOfMonths = 3

// TestMonths runs the scenarios that hold.
func TestMonths(t *testing.T) {
	t.Parallel()
	checkLimits(t, months, seedsOfMonths, func(s *Scenario) bool { return s.Fails == "" })
}

// TestMonthsThatDoNotHoldYet sees each marked scenario miss its limits. One that keeps them has
// a mark that is out of date.
func TestMonthsThatDoNotHoldYet(t *testing.T) {
	if !*withMonths {
		t.Skip("these are known to fail: -months runs them")
	}
	r := newRunner(runtime.GOMAXPROCS(0), io.Discard)
	for _, s := range choose(months, anyName) {
		if s.Fails == "" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			o := r.scenario(s, s.seedsOf(1, seedsOfMonths))
			for _, f := range o.figures {
				t.Logf("%s: median %s and worst %s, limit %s %s", f.limit.What, short(f.median), short(f.worst), f.limit.Op, short(f.limit.Value))
			}
			if o.ok() {
				t.Errorf("it keeps its limits, but is marked as failing (%s): take the mark away", s.Fails)
			}
		})
	}
}

// A mark turns the outcome around: only a scenario that misses its limits is as expected.
func TestMarks(t *testing.T) {
	for _, tc := range []struct {
		fails  string
		limit  float64
		want   bool
		output string
	}{
		{"", 1, true, "pass"},
		{"", 0.5, false, "FAIL"},
		{"finding 0", 0.5, true, "(?s)miss.*does not hold yet, as expected: finding 0"},
		{"finding 0", 1, false, "(?s)pass.*ERROR.*marked as failing"},
	} {
		s := Scenario{
			Name: "mark", Fails: tc.fails, World: world.Config{Pods: 2, Groups: []world.Group{multiHomed(20)}},
			Change: scaleTo(3), For: time.Minute, Limits: []Limit{costs(tc.limit)},
		}
		var out strings.Builder
		got := printOutcome(&out, newRunner(1, io.Discard).scenario(&s, []uint64{1}), false)
		if got != tc.want || !regexp.MustCompile(tc.output).MatchString(out.String()) {
			t.Errorf("mark %q, limit %v: got %v, want %v with %q in:\n%s", tc.fails, tc.limit, got, tc.want, tc.output, out.String())
		}
	}
}

// The table in docs/simulation.md names each scenario, and says of the marked ones that they do
// not hold yet.
func TestDocsOfMonths(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "<!-- months -->")
	table, _, _ = strings.Cut(table, "<!-- /months -->")
	fails := map[string]bool{}
	var names []string
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, "|"); len(cells) > 3 && strings.Contains(cells[1], "`") {
			names = nil
			for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				names = append(names, name[1])
			}
		}
		for _, name := range names {
			fails[name] = fails[name] || strings.Contains(row, "does not hold yet")
		}
	}
	for _, s := range choose(months, anyName) {
		listed, ok := fails[s.Name]
		if delete(fails, s.Name); !ok || listed != (s.Fails != "") {
			t.Errorf("%s: the table lists it %v, as failing %v, want %v", s.Name, ok, listed, s.Fails != "")
		}
	}
	for name := range fails {
		t.Errorf("the table has %s, which is no scenario", name)
	}
}

func TestUnknownSet(t *testing.T) {
	if _, err := run([]string{"-set", "years"}, io.Discard, io.Discard); err == nil {
		t.Error("got no error for a set that does not exist")
	}
}
