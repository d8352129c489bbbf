package rebalance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
)

// From a changed file to the configuration in force and the condition that shows.
func TestWatchConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte("rebalance: {settle: 1s}"), 0o600); err != nil {
			t.Fatal(err)
		}
		opts := config.Layers{File: file, Env: []string{}, Set: []string{"rebalance.floor=0.5"}}
		cfg, err := config.Load(opts)
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(cfg, WithSelf("pod-a", "198.18.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.WatchConfig(ctx, opts) }()
		now := func(text string, settle time.Duration, condition string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second)
			synctest.Wait()
			if cfg := b.Config(); cfg.Rebalance.Settle != settle || cfg.Rebalance.Floor != 0.5 {
				t.Errorf("%s: settle %v, floor %v", text, cfg.Rebalance.Settle, cfg.Rebalance.Floor)
			}
			shown := ""
			for _, c := range b.conds.list() {
				if c.Code == "config" {
					shown = string(c.Severity) + " " + c.Text
				}
			}
			if got := b.Status().ConfigRejected; got != (condition != "") {
				t.Errorf("%s: rejected %t", text, got)
			}
			if condition == "" && shown != "" || !strings.HasPrefix(shown, condition) || strings.Contains(shown, "\n") {
				t.Errorf("%s: the condition is %q, want %q", text, shown, condition)
			}
		}
		now("rebalance: {settle: 3s}", 3*time.Second, "")
		now("rebalance: {settle: 4, spread: x}", 3*time.Second, "warning the configuration file cannot be used; ")
		now("rebalance: {settle: 5s}", 5*time.Second, "")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("WatchConfig returned %v", err)
		}
	})
}
