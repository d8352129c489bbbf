package health

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// section returns the first cells of the table under a heading of docs/health.md, each with
// its line.
func section(t *testing.T, heading string) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no heading %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	lines := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` .*$").FindAllStringSubmatch(text, -1) {
		lines[m[1]] = m[0]
	}
	return lines
}

func sameNames(t *testing.T, what string, page map[string]string, code []string) {
	t.Helper()
	slices.Sort(code)
	if got := slices.Sorted(maps.Keys(page)); !slices.Equal(got, slices.Compact(code)) {
		t.Errorf("%s of docs/health.md: %q\nof the code: %q", what, got, code)
	}
}

func TestPageHasEveryMetric(t *testing.T) {
	name := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	page := section(t, "Metrics")
	var code []string
	for _, d := range descs {
		m := name.FindStringSubmatch(d.String())
		code = append(code, m[1])
		for _, label := range strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' }) {
			if !strings.Contains(page[m[1]], "`"+label+"`") {
				t.Errorf("%s: no label %q in %q", m[1], label, page[m[1]])
			}
		}
	}
	sameNames(t, "metrics", page, code)
	for _, r := range reason.All() {
		if !strings.Contains(page["evenkeel_goaways_total"], "`"+string(r)+"`") {
			t.Errorf("no reason %q", r)
		}
	}
	for _, why := range peerz.Classes() {
		if !strings.Contains(page["evenkeel_peer_errors_total"], "`"+why+"`") {
			t.Errorf("no class %q", why)
		}
	}
}
