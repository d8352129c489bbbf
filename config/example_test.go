package config_test

import (
	"fmt"
	"strings"

	"github.com/evenkeel-go/evenkeel/config"
)

// Everything that is wrong comes at once, whichever layer it is in.
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

func ExampleRestartNeeded() {
	before := config.Default()
	after := before
	after.Rebalance.MaxPerSecond = 20
	after.Peers.Port = 8080
	fmt.Println("changed:", strings.Join(config.ChangedKeys(before, after), ", "))
	fmt.Println("with a new process:", strings.Join(config.RestartNeeded(before, after), ", "))
	// Output:
	// changed: rebalance.maxPerSecond, peers.port
	// with a new process: peers.port
}
