package rebalance

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the tables of docs/health.md")

const healthPage = "../docs/health.md"

// The tables of docs/health.md are those of the code, to the last word. After a change run
// go test ./rebalance -run TestHealthPage -update.
func TestHealthPage(t *testing.T) {
	raw, err := os.ReadFile(healthPage)
	if err != nil {
		t.Fatal(err)
	}
	page := replaceTable(t, string(raw), "Verdicts", verdictRows())
	page = replaceTable(t, page, "Conditions", conditionRows())
	if *update {
		if err := os.WriteFile(healthPage, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if page != string(raw) {
		t.Errorf("%s is not what the tables say; run go test ./rebalance -run TestHealthPage -update", healthPage)
	}
}

// replaceTable returns page with the table under a heading replaced.
func replaceTable(t *testing.T, page, heading, table string) string {
	t.Helper()
	start := strings.Index(page, "\n## "+heading+"\n")
	if start < 0 {
		t.Fatalf("%s has no heading %q", healthPage, heading)
	}
	from := start + strings.Index(page[start:], "\n|") + 1
	to := from
	for to < len(page) && page[to] == '|' {
		to += strings.IndexByte(page[to:], '\n') + 1
	}
	return page[:from] + table + page[to:]
}

func verdictRows() string {
	var b strings.Builder
	b.WriteString("| verdict | meaning |\n|---|---|\n")
	for _, v := range VerdictTable() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", v.Verdict, v.Meaning)
	}
	return b.String()
}

func conditionRows() string {
	var b strings.Builder
	b.WriteString("| code | title | severity | shows after | meaning | what to do | hidden by |\n|---|---|---|---|---|---|---|\n")
	for _, c := range ConditionTable() {
		after, causes := "at once", ""
		if c.After > 0 {
			after = fmt.Sprintf("%d s", c.After/time.Second)
		}
		if len(c.Causes) > 0 {
			causes = "`" + strings.Join(c.Causes, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", c.Code, c.Title, c.Severity, after, c.Meaning, c.Cure, causes)
	}
	return b.String()
}

// Each condition is complete, the worst come first, and causes are conditions, too.
func TestConditionTable(t *testing.T) {
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	var codes []string
	last := 0
	for _, c := range ConditionTable() {
		if c.Code == "" || c.Title == "" || c.Meaning == "" || c.Cure == "" || slices.Contains(codes, c.Code) {
			t.Errorf("%+v is incomplete, or there twice", c)
		}
		if rank[c.Severity] < last {
			t.Errorf("%s stands below milder conditions", c.Code)
		}
		last = rank[c.Severity]
		codes = append(codes, c.Code)
	}
	for _, c := range ConditionTable() {
		for _, cause := range c.Causes {
			if !slices.Contains(codes, cause) || cause == c.Code {
				t.Errorf("%s: there is no other condition %q", c.Code, cause)
			}
		}
	}
}

func TestVerdictTable(t *testing.T) {
	for _, v := range VerdictTable() {
		if v.Verdict == "" || v.Meaning == "" {
			t.Errorf("%+v is incomplete", v)
		}
	}
	if got := Verdicts(); len(got) != len(VerdictTable()) || got[0] != Balanced {
		t.Errorf("verdicts %v", got)
	}
}

// A consequence does not show beside its cause, and shows when the cause has gone.
func TestConsequenceIsHiddenByItsCause(t *testing.T) {
	c := &conditions{log: discard()}
	shown := func() string {
		var out []string
		for _, one := range c.list() {
			out = append(out, one.Code)
		}
		return strings.Join(out, " ")
	}
	c.set(staleView, "no view of the peers")
	c.held[staleView].Since = time.Now().Add(-time.Minute)
	if got := shown(); got != staleView {
		t.Errorf("alone: %q", got)
	}
	c.set(sourceEnded, "it has given up")
	if got := shown(); got != sourceEnded {
		t.Errorf("beside its cause: %q", got)
	}
	c.set(sourceEnded, "")
	if got := shown(); got != staleView {
		t.Errorf("when the cause has gone: %q", got)
	}
}
