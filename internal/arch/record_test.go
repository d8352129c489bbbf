package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// rowCommand is the command of a row: the last code in it.
	rowCommand = regexp.MustCompile("`([^`]*)` \\|(?:[^`|]*\\|)?$")
	makeTarget = regexp.MustCompile(`^make ([a-z0-9-]+)`)
	goTest     = regexp.MustCompile(`^go test (\./\S+) (?:-run '\^\$' -bench|-run) (\w+)`)
	k8sTest    = regexp.MustCompile(`^\./test/k8s/run\.sh -run (\w+)`)
)

// Each row of the track record has a command, and what it runs exists.
func TestTrackRecord(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/track-record.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what ") || strings.HasPrefix(line, "| search ") {
			continue
		}
		rows++
		m := rowCommand.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("a row has no command: %s", line)
			continue
		}
		if problem := unknownCommand(t, m[1]); problem != "" {
			t.Errorf("`%s`: %s", m[1], problem)
		}
	}
	if rows < 30 {
		t.Errorf("%d rows were found, want all", rows)
	}
}

// unknownCommand returns why the command cannot be run, or "".
func unknownCommand(t *testing.T, command string) string {
	t.Helper()
	if m := makeTarget.FindStringSubmatch(command); m != nil {
		if !occurs(t, "Makefile", "\n"+m[1]+":") {
			return "the Makefile has no such target"
		}
		return ""
	}
	pattern, name := "", ""
	if m := goTest.FindStringSubmatch(command); m != nil {
		pattern, name = m[1]+"/*_test.go", m[2]
	} else if m := k8sTest.FindStringSubmatch(command); m != nil {
		pattern, name = "test/k8s/*/*_test.go", m[1]
	}
	if name == "" {
		return "it is neither make, go test nor run.sh"
	}
	if !occurs(t, pattern, "\nfunc "+name+"(") {
		return "there is no such test"
	}
	return ""
}

// occurs reports whether the text occurs in one of the files.
func occurs(t *testing.T, pattern, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), text) {
			return true
		}
	}
	return false
}
