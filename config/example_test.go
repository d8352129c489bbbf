package config_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
)

func ExampleDefault() {
	cfg := config.Default()
	fmt.Println(cfg.Rebalance.Enabled, cfg.Rebalance.Tolerance, cfg.Peers.Source, cfg.Validate())
	// Output: true 0.1 none <nil>
}

// The error has every mistake at once, whichever layer it is in.
func ExampleLoad() {
	_, err := config.Load(config.Layers{
		Env: []string{"EVENKEEL_REBALANCE_SETTLE=2"},
		Set: []string{"rebalance.enable=false", "rebalance.floor=1.5"},
	})
	for _, e := range config.Errors(err) {
		fmt.Println(e)
	}
	// Output:
	// rebalance.settle: "2" has no unit, write 2s (environment EVENKEEL_REBALANCE_SETTLE)
	// rebalance.enable: unknown key, did you mean rebalance.enabled? (-set)
	// rebalance.floor: 1.5 is too high, allowed: 0 to 0.95 (-set)
}

// Each error has its key and its place apart from the text.
func ExampleErrors() {
	_, err := config.Load(config.Layers{Set: []string{"rebalance.weight=cpu"}})
	for _, e := range config.Errors(fmt.Errorf("starting up: %w", err)) {
		fmt.Printf("key %s, from %s\n%s\n", e.Key, e.Where, e.Text)
	}
	// Output:
	// key rebalance.weight, from -set
	// "cpu" is not one of connections, requests, streams
}

// Watch calls its function for each change of the file, until its context ends.
func ExampleWatch() {
	file := filepath.Join(os.TempDir(), fmt.Sprintf("evenkeel-%d.yaml", os.Getpid()))
	defer func() { _ = os.Remove(file) }()
	layers := config.Layers{File: file, Env: []string{}}

	_ = os.WriteFile(file, []byte("rebalance: {settle: 2s}"), 0o600)
	current, err := config.Load(layers)
	fmt.Println("settle is", current.Rebalance.Settle, err)
	_ = os.WriteFile(file, []byte("rebalance: {settle: 5s}"), 0o600)

	ctx, stop := context.WithCancel(context.Background())
	err = config.Watch(ctx, layers, current, func(next config.Config, err error) {
		if err != nil {
			fmt.Println("kept:", err)
			return
		}
		fmt.Println("settle is", next.Rebalance.Settle)
		stop() // a server would go on watching
	})
	fmt.Println(err)
	// Output:
	// settle is 2s <nil>
	// settle is 5s
	// context canceled
}

// A file that Load refuses still stops all rebalancing.
func ExampleReadSwitches() {
	layers := config.Layers{File: filepath.Join(os.TempDir(), "evenkeel-broken.yaml"), Env: []string{}}
	if err := os.WriteFile(layers.File, []byte("rebalance:\n  enabled: false\n  settle: [\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	defer os.Remove(layers.File)
	_, err := config.Load(layers)
	fmt.Println("refused:", err != nil)
	fmt.Println("off:", config.ReadSwitches(layers).Off == layers.File)
	// Output:
	// refused: true
	// off: true
}

// The second file need not exist until somebody wants to stop all releases.
func ExampleWatchSwitches() {
	layers := config.Layers{Switch: filepath.Join(os.TempDir(), "evenkeel-switch.yaml"), Env: []string{}}
	ctx, stop := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, func() {
		_ = os.WriteFile(layers.Switch, []byte("rebalance: {enabled: false}"), 0o600)
	})
	defer os.Remove(layers.Switch)
	err := config.WatchSwitches(ctx, layers, config.ReadSwitches(layers), func(s config.Switches) {
		fmt.Println("off:", s.Off == layers.Switch)
		stop() // a server would go on watching
	})
	fmt.Println(err)
	// Output:
	// off: true
	// context canceled
}

func ExampleSwitches_Over() {
	s := config.Switches{Off: "/etc/evenkeel-switch/evenkeel.yaml"}
	fmt.Println(s.Over(config.Default()).Rebalance.Enabled)
	// Output: false
}

func ExampleChangedKeys() {
	before := config.Default()
	after := before
	after.Rebalance.MaxPerSecond = 20
	after.Peers.Port = 8080
	fmt.Println(strings.Join(config.ChangedKeys(before, after), ", "))
	// Output: rebalance.maxPerSecond, peers.port
}

// Only a new process will use the new port.
func ExampleRestartNeeded() {
	before := config.Default()
	after := before
	after.Rebalance.MaxPerSecond = 20
	after.Peers.Port = 8080
	fmt.Println(strings.Join(config.RestartNeeded(before, after), ", "))
	// Output: peers.port
}

func ExampleConfig_Validate() {
	cfg := config.Default()
	cfg.Rebalance.Tolerance = 2
	cfg.Peers.Source = config.SourceDNS
	fmt.Println(cfg.Validate())
	// Output:
	// rebalance.tolerance: 2 is too high, allowed: 0.01 to 1
	// peers.dns.name: is empty, but peers.source is dns and needs it
}

// The YAML has all keys, so that it shows the configuration in force.
func ExampleConfig_YAML() {
	text, err := config.Default().YAML()
	if err != nil {
		log.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	fmt.Print(strings.Join(lines[9:13], ""))
	// Output:
	// rebalance:
	//   enabled: true
	//   dryRun: false
	//   weight: connections
}
