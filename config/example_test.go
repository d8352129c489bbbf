package config_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

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
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	layers := config.Layers{File: filepath.Join(dir, "evenkeel.yaml"), Env: []string{}}
	write := func(text string) {
		if err := os.WriteFile(layers.File, []byte(text), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	write("rebalance: {settle: 2s}")
	current, err := config.Load(layers)
	if err != nil {
		log.Fatal(err)
	}
	write("rebalance: {settle: 5s}")

	ctx, stop := context.WithCancel(context.Background())
	err = config.Watch(ctx, layers, current, func(next config.Config, err error) {
		if err != nil {
			fmt.Println("kept:", err)
			return
		}
		fmt.Println("settle is now", next.Rebalance.Settle)
		stop() // a server would go on watching
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// settle is now 5s
	// true
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
	fmt.Print(strings.Join(lines[8:12], ""))
	// Output:
	// rebalance:
	//   enabled: true
	//   weight: connections
	//   tolerance: 0.1
}
