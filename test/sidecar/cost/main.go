// Command cost compares what a call costs directly, through evenkeel-sidecar, and through Envoy
// as the sidecar, in one run: latency, CPU per call, memory per connection, size of the binary.
// The ways take turns, so that other work on the machine meets all of them.
//
//	go run ./sidecar/cost -envoy sidecar/.tmp/venv/lib/python3.11/site-packages/envoy/_bin/envoy
//
// Without -envoy, its rows are left out. run.sh installs Envoy and finds it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// options are the flags.
type options struct {
	envoy      string
	rounds     int
	span       time.Duration
	channels   int
	perChannel int
	idle       int
}

func main() {
	var o options
	flag.StringVar(&o.envoy, "envoy", "", "path of the `program` envoy")
	flag.IntVar(&o.rounds, "rounds", 6, "how often each way has its turn")
	flag.DurationVar(&o.span, "span", 2*time.Second, "length of a turn")
	flag.IntVar(&o.channels, "channels", 4, "connections that call during a turn")
	flag.IntVar(&o.perChannel, "per-channel", 4, "calls in flight on each of them")
	flag.IntVar(&o.idle, "idle", 1000, "connections for the memory of each")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	dir, err := os.MkdirTemp("", "cost")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs, err := build(dir)
	if err != nil {
		return err
	}
	ways, end, err := start(o, dir, programs)
	defer end()
	if err != nil {
		return err
	}
	ctx := context.Background()
	for range o.rounds {
		for _, w := range ways {
			if err := w.turn(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, w := range ways {
		if err := w.weigh(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	report(os.Stdout, o, ways)
	return nil
}

// build builds the server and the sidecar, as `make image` does.
func build(dir string) (map[string]string, error) {
	programs := map[string]string{}
	for name, pkg := range map[string]string{
		"server": "github.com/evenkeel-go/evenkeel/test/sidecar/server", "sidecar": "github.com/evenkeel-go/evenkeel/cmd/evenkeel-sidecar",
	} {
		programs[name] = filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", programs[name], pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
	}
	return programs, nil
}
