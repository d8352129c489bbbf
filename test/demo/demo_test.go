package demo

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lanes is how many scenarios run side by side: most of a scenario is waiting for the
// 30 s of the clients' resolvers, and two cores carry two of them.
const lanes = 2

// The demo judges by itself and exits 1 if a promise broke; the patterns make sure
// that it did what the scenario is about.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes of real time")
	}
	bin := build(t)
	slots := make(chan struct{}, lanes)
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"beside the alternatives": {
			[]string{},
			[]string{`2 to 5 +even after`, `GOAWAYs +20 +\d+ +0\n`, `never even`},
		},
		"scale down, up again, kill": {
			[]string{"-full", "-only", "evenkeel"},
			[]string{`2 to 5`, `5 to 2`, `(?i)kill`},
		},
		"DNS lags": {
			[]string{"-dns-lag", "20s", "-only", "evenkeel"},
			[]string{`2 to 5 +even after`, `GOAWAYs +20\n`},
		},
		"DNS never answers": {
			[]string{"-dns-never", "-only", "evenkeel"},
			[]string{`GOAWAYs +0\n`},
		},
		"all clients behind one address": {
			[]string{"-one-key", "-only", "evenkeel"},
			[]string{`2 to 5 +even after`, `GOAWAYs +20\n`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			out := run(t, bin, tc.args)
			for _, want := range tc.want {
				if !regexp.MustCompile(want).MatchString(out) {
					t.Errorf("no %q in the output:\n%s", want, out)
				}
			}
		})
	}
}

func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "demo")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/evenkeel-go/evenkeel/example/demo")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func run(t *testing.T, bin string, args []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"-headless", "-page", ""}, args...)...)
	// Asked first, so that it takes its own processes with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = os.Environ()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.ReplaceAll(out.String(), "\r", "")
	if err != nil {
		t.Fatalf("demo %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	t.Logf("demo %s\n%s", strings.Join(args, " "), text)
	return text
}
