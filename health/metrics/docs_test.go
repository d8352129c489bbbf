package metrics

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

// tableOfMetrics returns the rows of the table of metrics in docs/health.md by their first
// cell.
func tableOfMetrics(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## Metrics\n")
	if !found {
		t.Fatal("docs/health.md has no section Metrics")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` .*$").FindAllStringSubmatch(text, -1) {
		rows[m[1]] = m[0]
	}
	return rows
}

func TestDocsListEveryMetric(t *testing.T) {
	name := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	rows := tableOfMetrics(t)
	var code []string
	for _, d := range descs {
		m := name.FindStringSubmatch(d.String())
		code = append(code, m[1])
		for _, label := range strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' }) {
			if !strings.Contains(rows[m[1]], "`"+label+"`") {
				t.Errorf("%s: no label %q in %q", m[1], label, rows[m[1]])
			}
		}
	}
	slices.Sort(code)
	if got := slices.Sorted(maps.Keys(rows)); !slices.Equal(got, slices.Compact(code)) {
		t.Errorf("docs/health.md lists %q\nthe code has %q", got, code)
	}
	for _, r := range reason.All() {
		if !strings.Contains(rows["evenkeel_goaways_total"], "`"+string(r)+"`") {
			t.Errorf("evenkeel_goaways_total: no reason %q", r)
		}
	}
	for _, why := range peerz.Classes() {
		if !strings.Contains(rows["evenkeel_peer_errors_total"], "`"+why+"`") {
			t.Errorf("evenkeel_peer_errors_total: no class %q", why)
		}
	}
}
