package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script returns a program that runs a shell script in place of the compiled tests.
func script(t *testing.T, text string) *program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "interop.test")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := newProgram(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func TestReportOfASlice(t *testing.T) {
	p := script(t, `echo "{\"version\":\"$INTEROP_ROW\",\"calls\":$INTEROP_SECONDS,\"errors\":{\"x\":1}}" >"$INTEROP_REPORT"`)
	s := p.slice(t.Context(), row{Name: "a b"}, time.Minute)
	if s.Version != "a b" || s.Calls != 60 || s.Errors["x"] != 1 || s.Broken != "" {
		t.Errorf("got %+v, want the report", s)
	}
}

func TestFailedSliceKeepsItsReport(t *testing.T) {
	p := script(t, `echo '{"calls":7,"failed":2}' >"$INTEROP_REPORT"
echo '--- FAIL: TestSlice (1.23s)'
echo '    interop_test.go:204: 2 of 7 calls failed,'
echo "    server_test.go:10: $PWD/server has 1 open socket"
echo '    process_test.go:9: server printed:'
echo FAIL
exit 1`)
	s := p.slice(t.Context(), row{}, time.Minute)
	if s.Calls != 7 || s.Failed != 2 || s.Broken != "2 of 7 calls failed,; server has 1 open socket" {
		t.Errorf("got %+v, want the report and what the tests said", s)
	}
}

func TestCrashedSlice(t *testing.T) {
	p := script(t, `echo 'panic: test timed out'; exit 2`)
	if s := p.slice(t.Context(), row{}, time.Minute); s.Broken != "exit status 2: panic: test timed out" {
		t.Errorf("got %q, want the status and the output", s.Broken)
	}
}

// The child of a child must end, too, or servers would outlive the soak.
func TestStoppedSliceEndsWhatItStarted(t *testing.T) {
	p := script(t, `sh -c 'echo $$ >"$0.pid"; exec sleep 600' "$0" & wait`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan slice)
	go func() { ended <- p.slice(ctx, row{}, time.Minute) }()
	waitFor(t, func() bool { b, _ := os.ReadFile(p.path + ".pid"); return len(b) > 0 })
	cancel()
	<-ended
	b, _ := os.ReadFile(p.path + ".pid")
	pid := strings.TrimSpace(string(b))
	waitFor(t, func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		return errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ")
	})
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("timeout")
		}
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "soak.md")
	if err := os.WriteFile(page, []byte(tableBegin+tableEnd), 0o600); err != nil {
		t.Fatal(err)
	}
	p := script(t, `if [ -z "$INTEROP_ROW" ]; then echo '[{"name":"good"},{"name":"bad","why":"it is"}]' >"$INTEROP_REPORT"; exit; fi
echo '{"version":"1","calls":50}' >"$INTEROP_REPORT"
[ "$INTEROP_ROW" = good ] || { echo '    x_test.go:1: it is bad'; exit 1; }`)
	soak := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		args = append([]string{"-state", filepath.Join(dir, "soak.json"), "-page", page, "-program", p.path}, args...)
		if got := command(t.Context(), args, &out, &out); got != want {
			t.Errorf("%v: got exit status %d, want %d:\n%s", args, got, want, out.String())
		}
		text, _ := os.ReadFile(page)
		return out.String() + string(text)
	}
	soak(2, "-slice", "1s")
	soak(2, "-table") // no slice yet
	soak(2, "-only", "nobody")
	soak(0, "-calls", "100", "-only", "good")
	if out := soak(1, "-calls", "200"); !strings.Contains(out, "| bad |") || !strings.Contains(out, "| it is bad |") {
		t.Errorf("the table does not name the broken row:\n%s", out)
	}
	if out := soak(1, "-calls", "200"); strings.Contains(out, "left |") {
		t.Errorf("a soak that has all its calls went on:\n%s", out)
	}
	unlock, err := lock(filepath.Join(dir, "soak.json"))
	if err != nil {
		t.Fatal(err)
	}
	soak(2, "-calls", "300") // another soak runs
	if out := soak(0, "-table"); !strings.Contains(out, "| it is bad |") {
		t.Errorf("the table has lost the broken row:\n%s", out)
	}
	unlock()
	soak(0, "-calls", "100", "-only", "good", "-reset")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := command(ctx, []string{"-state", filepath.Join(dir, "soak.json"), "-program", p.path}, &bytes.Buffer{}, &bytes.Buffer{}); got != 130 {
		t.Errorf("got exit status %d of a stopped soak, want 130", got)
	}
}
