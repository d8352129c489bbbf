package demo

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lanes is the number of scenarios that run at the same time, whatever the number of processors.
// They mostly wait for the clients' resolvers, for 30 s each, so two cores are enough for three.
const lanes = 3

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(lanes)); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// long adds the scenarios of longScenarios, which make nightly runs.
var long = flag.Bool("long", false, "run all scenarios")

// scenario is a run of the demo, and patterns that its output must match.
type scenario struct {
	args []string
	want []string
}

var scenarios = map[string]scenario{
	"compared with the alternatives": {
		[]string{},
		[]string{`2 to 5 +even after`, `GOAWAYs +20 +\d+ +0\n`, `never even`},
	},
	"scale down, up again, kill": {
		[]string{"-full", "-only", "evenkeel"},
		[]string{`2 to 5`, `5 to 2`, `(?i)kill`},
	},
	"through a ClusterIP": {
		[]string{"-via", "clusterip", "-only", "evenkeel"},
		[]string{`2 to 5 +even after`},
	},
	"through the gateways": {
		[]string{"-via", "gateway", "-only", "evenkeel"},
		[]string{`2 to 5 +even after`},
	},
	"servers behind the sidecar": {
		[]string{"-via", "sidecar", "-full", "-only", "evenkeel"},
		[]string{`go build cmd/evenkeel-sidecar`, `2 to 5 +even after`, `GOAWAYs +20\n`, `5 to 2`},
	},
}

var longScenarios = map[string]scenario{
	"DNS lags behind": {
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
}

// The demo exits with status 1 if a promise is broken. The patterns only check that it ran the
// scenario.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	bin := build(t)
	all := maps.Clone(scenarios)
	if *long {
		maps.Copy(all, longScenarios)
	}
	for name, tc := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := run(t, bin, tc.args)
			for _, want := range tc.want {
				if !regexp.MustCompile(want).MatchString(out) {
					t.Errorf("the output does not match %q:\n%s", want, out)
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
	// SIGTERM comes first, so that the demo can end its child processes.
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
