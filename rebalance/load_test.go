package rebalance

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
)

func layers(settings ...string) config.Layers {
	return config.Layers{Env: []string{}, Set: settings}
}

// Load makes the source that the configuration names, or says what is missing.
func TestLoadMakesTheSource(t *testing.T) {
	ours := func(config.Config, *slog.Logger) (peers.Source, error) { return &hand{}, nil }
	broken := func(config.Config, *slog.Logger) (peers.Source, error) { return nil, errors.New("no such cluster") }
	kubernetes := []string{"peers.source=kubernetes", "peers.kubernetes.service=hello"}
	for name, tc := range map[string]struct {
		settings []string
		opts     []Option
		source   string
		err      string
	}{
		"none":               {source: "none"},
		"static":             {settings: []string{"peers.source=static", "peers.static=127.0.0.2,127.0.0.3"}, source: "static (2 addresses)"},
		"dns":                {settings: []string{"peers.source=dns", "peers.dns.name=hello.test"}, source: "dns hello.test"},
		"kubernetes":         {settings: kubernetes, opts: []Option{WithSource(config.SourceKubernetes, ours)}, source: "hand"},
		"WithPeers wins":     {settings: kubernetes, opts: []Option{WithPeers(&hand{})}, source: "hand"},
		"kubernetes missing": {settings: kubernetes, err: "rebalance.WithSource(config.SourceKubernetes, kube.FromConfig)"},
		"broken source":      {settings: kubernetes, opts: []Option{WithSource(config.SourceKubernetes, broken)}, err: "no such cluster"},
		"bad setting":        {settings: []string{"rebalance.floor=7"}, err: "rebalance.floor: 7 is too high"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Load(layers(tc.settings...), tc.opts...)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := b.Status().Source; got != tc.source {
				t.Errorf("source %q, want %q", got, tc.source)
			}
		})
	}
}

// The file of Load is watched by Run: rebalance.enabled is a kill switch without another call.
func TestLoadedFileIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "evenkeel.yaml")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(config.Layers{File: file, Env: []string{}}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file that is not there: %v", err)
		}
		write("rebalance: {settle: 3s}")
		b, err := Load(config.Layers{File: file, Env: []string{}}, WithPeers(&hand{renew: true}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.Run(ctx) }()
		write("rebalance: {enabled: false}")
		time.Sleep(12 * time.Second)
		wantVerdict(t, b, Disabled, "rebalance.enabled is false")
		cancel()
		<-done
	})
}
