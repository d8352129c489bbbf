package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// retired are words that the glossary of docs/design.md has replaced, and phrases that a
// native reader stumbles over. Each has what to write instead.
var retired = map[string]string{
	`ask(s|ed|ing)? (\S+ ){0,4}to leave`:                      "drain, drained, draining",
	`\b(spread|sticky) (clients?|keys?|connections?|ones?)\b`: "multi-homed, single-homed or pinned",
	`\b(tell|tells|say|says) whether\b`:                       "reports whether",
	`\bfor ever\b`:                                            "forever",
	`\banew\b`:                                                "again",
	`\bof late\b`:                                             "recently",
	`\bshall\b`:                                               "must, should",
	`\bLeaveAll\b|\brebalance\.Leave\b`:                       "DrainAll, Drain",
}

// Files in which other people's words stand, or these.
func foreign(file string) bool {
	for _, part := range []string{"internal/arch/words_test.go", "LICENSE", "go.sum", "package-lock.json", ".svg", "/gen/", "testdata/"} {
		if strings.Contains(file, part) {
			return true
		}
	}
	return false
}

func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Skip("this is no git checkout: ", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

// The whole tree, comments and docs included, keeps to the glossary.
func TestRetiredWords(t *testing.T) {
	rules := map[*regexp.Regexp]string{}
	for pattern, instead := range retired {
		rules[regexp.MustCompile(pattern)] = instead
	}
	for _, file := range tracked(t) {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil || foreign(file) {
			continue
		}
		for n, line := range strings.Split(string(text), "\n") {
			for rule, instead := range rules {
				if found := rule.FindString(line); found != "" {
					t.Errorf("%s:%d: %q; write %s", file, n+1, found, instead)
				}
			}
		}
	}
}
