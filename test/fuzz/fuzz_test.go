package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const found = `fuzz: elapsed: 0s, gathering baseline coverage: 0/2 completed
fuzz: elapsed: 3s, execs: 1034 (344/sec), new interesting: 2 (total: 4)
fuzz: elapsed: 5s, execs: 20345 (9655/sec), new interesting: 12 (total: 14)
--- FAIL: FuzzX (5.00s)
    --- FAIL: FuzzX (0.00s)
        x_test.go:9: bad

    Failing input written to testdata/fuzz/FuzzX/9f1c
    To re-run:
    go test -run=FuzzX/9f1c
`

func TestReadsResults(t *testing.T) {
	r := result{target: target{dir: "/src/x"}, output: found}
	r.read(errors.New("exit status 1"))
	want := filepath.FromSlash("/src/x/testdata/fuzz/FuzzX/9f1c")
	if r.execs != 20345 || r.fresh != 12 || r.corpus != 14 || r.failed != want {
		t.Errorf("got %d, %d, %d, %q; want 20345, 12, 14, %q", r.execs, r.fresh, r.corpus, r.failed, want)
	}
	r = result{output: "FAIL	example.test/x [build failed]"}
	if r.read(errors.New("exit status 1")); r.failed != "exit status 1" || r.execs != 0 {
		t.Errorf("a build that failed: %q, %d executions", r.failed, r.execs)
	}
	r = result{output: strings.SplitAfter(found, "14)")[0]}
	if r.read(nil); r.failed != "" || r.execs != 20345 {
		t.Errorf("a run without a finding: %q, %d executions", r.failed, r.execs)
	}
}

// Each target gets an equal share of what is left, and the last one no less than a second.
func TestShare(t *testing.T) {
	for _, c := range []struct {
		left    time.Duration
		targets int
		want    time.Duration
	}{
		{10 * time.Minute, 10, time.Minute},
		{10 * time.Minute, 7, 85700 * time.Millisecond},
		{-time.Minute, 3, time.Second},
	} {
		if got := share(c.left, c.targets); got != c.want {
			t.Errorf("%v for %d targets: got %v, want %v", c.left, c.targets, got, c.want)
		}
	}
}

func TestListed(t *testing.T) {
	out := `{"Action":"start","Package":"a/b"}
{"Action":"output","Package":"a/b","Output":"FuzzOne\n"}
{"Action":"output","Package":"a/c","Output":"FuzzTwo\n"}
{"Action":"output","Package":"a/c","Output":"ok  \ta/c\t0.01s\n"}
no JSON
`
	got := listed([]byte(out))
	if len(got) != 2 || got[0].pkg != "a/b" || got[0].name != "FuzzOne" || got[1].pkg != "a/c" || got[1].name != "FuzzTwo" {
		t.Errorf("got %+v", got)
	}
}

const targets = `package x

import "testing"

func FuzzGood(f *testing.F) {
	f.Add([]byte("seed"))
	f.Fuzz(func(t *testing.T, b []byte) {
		switch len(b) { // each length is new coverage, and so an input to keep
		case 1:
			t.Log("one")
		case 2:
			t.Log("two")
		case 3:
			t.Log("three")
		}
	})
}

func FuzzBad(f *testing.F) {
	f.Add(uint8(0))
	f.Fuzz(func(t *testing.T, n uint8) {
		if n > 1 {
			t.Error("too large")
		}
	})
}
`

// The whole command, in a module of its own with a good target and a bad one.
func TestCommand(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test compiles a program for fuzzing")
	}
	t.Setenv("GOWORK", "off")
	module, corpus := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.test/x\n\ngo 1.25\n", "x_test.go": targets} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if code := command(t.Context(), []string{"-budget", "6s", "-corpus", corpus, module}, &out, &out); code != 1 {
		t.Errorf("exit status %d, want 1\n%s", code, out.String())
	}
	m := regexp.MustCompile(`FAILED: example.test/x.FuzzBad: (\S+)`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("the finding is not named:\n%s", out.String())
	}
	if _, err := os.Stat(m[1]); err != nil {
		t.Error(err)
	}
	if !regexp.MustCompile(`[1-9]\d* .* example.test/x.FuzzGood`).MatchString(out.String()) {
		t.Errorf("the executions of FuzzGood are missing:\n%s", out.String())
	}
	if _, err := os.Stat(filepath.Join(corpus, "example.test", "x")); err != nil {
		t.Errorf("the corpus was not kept: %v", err)
	}
	if code := command(t.Context(), []string{"-only", "Nothing", module}, &out, &out); code != 2 {
		t.Errorf("exit status %d without a target, want 2", code)
	}
}
