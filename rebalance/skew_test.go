package rebalance

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
)

// A file, a variable and a flag of a newer version keep no pod from starting. A condition names
// what this version does not know, and ends with it.
func TestUnknownKeysAreAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "evenkeel.yaml")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("rebalance: {settle: 3s, nextYear: 1}\nnewGroup: {a: {b: [1]}}")
		layers := config.Layers{File: file, Env: []string{"EVENKEEL_PEERS_NEXTYEAR=1"}}
		b, err := Load(layers, WithLogger(discard()))
		if err != nil {
			t.Fatalf("a pod with keys of a newer version does not start: %v", err)
		}
		if b.Config().Rebalance.Settle != 3*time.Second {
			t.Errorf("settle is %v, want that of the file", b.Config().Rebalance.Settle)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		wantUnknown(t, b, "rebalance.nextYear", "newGroup", "EVENKEEL_PEERS_NEXTYEAR")
		write("rebalance: {settle: 4s, other: 1}")
		time.Sleep(11 * time.Second)
		wantUnknown(t, b, "rebalance.other", "EVENKEEL_PEERS_NEXTYEAR")
		if b.Config().Rebalance.Settle != 4*time.Second {
			t.Error("a file with an unknown key is not in force")
		}
		cancel()
		<-done

		layers.Strict = true
		if _, err := Load(layers); err == nil || len(config.Errors(err)) != 2 {
			t.Errorf("strict: got %v, want two errors", err)
		}
	})
}

func wantUnknown(t *testing.T, b *Balancer, names ...string) {
	t.Helper()
	for _, c := range b.Status().Conditions {
		if c.Code != unknownKeys {
			continue
		}
		for _, name := range names {
			if !strings.Contains(c.Text, name) {
				t.Errorf("the condition does not name %s: %s", name, c.Text)
			}
		}
		return
	}
	t.Errorf("no condition %s, want one about %q", unknownKeys, names)
}

// A value that cannot be understood still stops a start: nothing says what it should mean. So
// does a flag that names no key, which no other version has written.
func TestWrongValuesStopAStart(t *testing.T) {
	for _, set := range []string{"rebalance.settle=4", "rebalance.weight=cpu", "peers.source=dns", "rebalance.enabld=false"} {
		if _, err := Load(config.Layers{Env: []string{}, Set: []string{set}}); err == nil {
			t.Errorf("%s: got no error", set)
		}
	}
}
