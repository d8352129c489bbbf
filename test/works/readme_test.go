package works

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of README.md")

const (
	readme  = "../../README.md"
	heading = "\n### What it works with\n"
)

// README's table has a row for each test here, to the last word, and no other. After a
// change run go test ./works -run TestReadme -update in the folder test.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	from, to := tableIn(t, page)
	want := page[:from] + table() + page[to:]
	if *update {
		if err := os.WriteFile(readme, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if page != want {
		t.Errorf("%s has the table\n%s\nwant\n%s", readme, page[from:to], table())
	}
}

// tableIn returns where the table below the heading begins and ends.
func tableIn(t *testing.T, page string) (from, to int) {
	t.Helper()
	_, rest, ok := strings.Cut(page, heading)
	if !ok {
		t.Fatalf("%s has no heading %q", readme, strings.TrimSpace(heading))
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	start := strings.Index(section, "\n|")
	if start < 0 {
		t.Fatalf("%s has no table under %q", readme, strings.TrimSpace(heading))
	}
	from = len(page) - len(rest) + start + 1
	to = from
	for to < len(page) && page[to] == '|' {
		to += strings.IndexByte(page[to:], '\n') + 1
	}
	return from, to
}

// serveHTTPRow is the row of TestServeHTTP, the one that does not work.
const serveHTTPRow = "| `ServeHTTP` of any other `http.Server` | served but never tracked or drained; a health check shows `serve-http`. " +
	"Leave it out of `Shutdown` and stop the web server afterwards | `TestServeHTTP` |\n"

func table() string {
	var b strings.Builder
	b.WriteString("| what | result | `go test ./works -run` |\n|---|---|---|\n")
	for _, s := range setups {
		fmt.Fprintf(&b, "| %s | %s | `TestWorks/%s` |\n", s.what, s.result, s.name)
	}
	b.WriteString(serveHTTPRow)
	return b.String()
}

// A name must select its own test and no other: a pattern of -run matches parts of names.
func TestNames(t *testing.T) {
	var names []string
	for _, s := range setups {
		names = append(names, s.name)
	}
	for i, a := range names {
		for j, b := range names {
			if i != j && strings.Contains(b, a) {
				t.Errorf("-run TestWorks/%s also runs %s", a, b)
			}
		}
	}
}
