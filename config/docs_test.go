package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conf"
)

const settingsPage = "../docs/settings.md"

// page returns docs/settings.md.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(settingsPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rows returns the cells of each table row whose first cell is a key.
func rows(text string) [][]string {
	var out [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") || !strings.HasSuffix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		cells[0] = strings.Trim(cells[0], "`")
		out = append(out, cells)
	}
	return out
}

// docText formats a default as the page does.
func docText(value any) string {
	switch v := value.(type) {
	case time.Duration:
		if v == 0 {
			return "0"
		}
		return conf.Duration(v)
	case string:
		if v == "" {
			return `""`
		}
	case float64:
		return number(v)
	case []string:
		return "[" + strings.Join(v, ", ") + "]"
	}
	return fmt.Sprint(value)
}

// The tables of the page must have every key, in the order of the struct, with the default
// and the range of the code.
func TestSettingsPageMatchesTheCode(t *testing.T) {
	cfg := Default()
	defaults := conf.New(&cfg)
	var documented []string
	for _, row := range rows(page(t)) {
		documented = append(documented, row[0])
		i := slices.IndexFunc(rules, func(r rule) bool { return r.key == row[0] })
		if i < 0 || len(row) != 6 {
			t.Errorf("row %q has an unknown key, or not six cells", row)
			continue
		}
		r := rules[i]
		live := map[bool]string{true: "yes", false: "no"}[r.live]
		want := []string{r.key, docText(defaults.Get(r.key)), r.limit.String(), live}
		if !slices.Equal(row[:4], want) {
			t.Errorf("%s has %q, the code has %q", settingsPage, row[:4], want)
		}
		if row[4] == "" {
			t.Errorf("%s does not explain %s", settingsPage, r.key)
		}
	}
	if keys := defaults.Keys(); !slices.Equal(documented, keys) {
		t.Errorf("documented keys: %q\nall keys:        %q", documented, keys)
	}
}

// The page shows a file, error messages and names of variables, which must work as shown.
func TestSettingsPageExamplesWork(t *testing.T) {
	text := page(t)
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(text)
	if example == nil {
		t.Fatal("the page has no YAML")
	}
	cfg, err := Load(Layers{File: writeConfig(t, example[1]), Env: noEnv})
	if err != nil || len(ChangedKeys(Default(), cfg)) != 3 {
		t.Errorf("the example sets %q, %v, want three keys", ChangedKeys(Default(), cfg), err)
	}
	for _, message := range fiveErrors {
		if !strings.Contains(text, message+"\n") {
			t.Errorf("the page does not show %q", message)
		}
	}
	shown := regexp.MustCompile("`([a-zA-Z.]+)` is `(EVENKEEL_[A-Z_]+)`").FindStringSubmatch(text)
	if shown == nil || conf.EnvName(EnvPrefix, shown[1]) != shown[2] {
		t.Errorf("the page shows the name of a variable as %q", shown)
	}
	flags := regexp.MustCompile(`-set ([^ .]+\.[^ ]+=[^ `+"`]+)").FindAllStringSubmatch(text, -1)
	if len(flags) == 0 {
		t.Error("the page has no -set")
	}
	for _, f := range flags {
		if _, err := Load(Layers{Env: noEnv, Set: []string{f[1]}}); err != nil {
			t.Errorf("-set %s: %v", f[1], err)
		}
	}
}
