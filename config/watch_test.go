package config

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// watched runs Watch on a file inside a synctest bubble and collects what it
// hands to apply.
type watched struct {
	t     *testing.T
	file  string
	calls []applied
}

type applied struct {
	settle time.Duration
	err    error
}

// watch calls script while Watch runs on a file that holds text at first.
func watch(t *testing.T, text string, set []string, script func(*watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{t: t, file: writeConfig(t, text)}
		opts := Layers{File: w.file, Env: noEnv, Set: set}
		cfg, err := Load(opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Watch(ctx, opts, cfg, func(cfg Config, err error) {
				w.calls = append(w.calls, applied{cfg.Rebalance.Settle, err})
			})
		}()
		w.wait()
		script(w)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func (w *watched) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// wait lets Watch look at least twice.
func (w *watched) wait() {
	time.Sleep(2*watchInterval + time.Second)
	synctest.Wait()
}

// want checks and forgets the calls of apply so far: a settle time for each,
// with "!" and a part of the text for an error.
func (w *watched) want(step string, calls ...string) {
	w.t.Helper()
	w.wait()
	ok := len(w.calls) == len(calls)
	for i := 0; ok && i < len(calls); i++ {
		settle, text, bad := strings.Cut(calls[i], "!")
		c := w.calls[i]
		ok = c.settle.String() == settle && bad == (c.err != nil) && (!bad || strings.Contains(c.err.Error(), text))
	}
	if !ok {
		w.t.Errorf("%s: got %v, want %q", step, w.calls, calls)
	}
	w.calls = nil
}

func TestWatchFollowsTheFile(t *testing.T) {
	watch(t, "rebalance: {settle: 3s}", nil, func(w *watched) {
		w.want("unchanged")
		w.write("rebalance: {settle: 4s}")
		w.want("changed", "4s")
		w.write("rebalance: {settle: 4s} # and why")
		w.want("a comment")
		w.write("rebalance: {setle: 5s}")
		w.want("wrong", "4s!rebalance.setle: unknown key, did you mean rebalance.settle?")
		w.want("still wrong")
		w.write("rebalance: {settle: 5}")
		w.want("wrong in another way", `4s!"5" has no unit`)
		w.write("rebalance: {settle: 4s}")
		w.want("as it was", "4s")
		w.write("rebalance: [")
		w.want("no YAML", "4s!not valid YAML")
		w.write("rebalance: {settle: 6s}")
		w.want("right and new", "6s")
		w.write("")
		w.want("empty is defaults", "2s")
	})
}

func TestWatchKeepsWhatAVanishedFileSaid(t *testing.T) {
	watch(t, "rebalance: {settle: 3s}", nil, func(w *watched) {
		if err := os.Remove(w.file); err != nil {
			t.Fatal(err)
		}
		w.wait()
		if len(w.calls) != 1 || w.calls[0].settle != 3*time.Second || !errors.Is(w.calls[0].err, fs.ErrNotExist) {
			t.Errorf("got %v", w.calls)
		}
		w.calls = nil
		w.want("still gone")
		w.write("rebalance: {settle: 3s}")
		w.want("back", "3s")
	})
}

func TestWatchLeavesSetOnTop(t *testing.T) {
	watch(t, "rebalance: {settle: 3s}", []string{"rebalance.settle=9s"}, func(w *watched) {
		w.write("rebalance: {settle: 4s}")
		w.want("covered by -set")
		w.write("rebalance: {settle: 4s, spread: 9s}")
		w.want("something else", "9s")
	})
}

// Load and Run are two moments: what changed between them is not lost.
func TestWatchNoticesWhatChangedBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := Layers{File: writeConfig(t, "rebalance: {settle: 4s}"), Env: noEnv}
		ctx, cancel := context.WithCancel(t.Context())
		var got []time.Duration
		_ = Watch(ctx, opts, Default(), func(cfg Config, err error) {
			got = append(got, cfg.Rebalance.Settle)
			cancel()
		})
		if !slices.Equal(got, []time.Duration{4 * time.Second}) {
			t.Errorf("got %v", got)
		}
	})
}

// A file that is written in place is empty for a moment, and an empty file is
// valid: the defaults must not be put in force for that moment.
func TestWatchIgnoresAHalfWrittenFile(t *testing.T) {
	watch(t, "rebalance: {settle: 3s}", nil, func(w *watched) {
		// All looks are at multiples of confirmAfter. Writes stay off these moments,
		// and no two contents five writes apart are the same.
		time.Sleep(confirmAfter / 25)
		for i := range 500 {
			w.write(strings.Repeat("#", i%7))
			time.Sleep(confirmAfter / 5)
		}
		w.write("rebalance: {settle: 4s}")
		w.want("written", "4s")
	})
}

// A ConfigMap is mounted as file -> ..data/file, ..data -> ..2026_11_22, and
// changes by a rename over ..data.
func TestWatchSeesAConfigMapSwap(t *testing.T) {
	dir := t.TempDir()
	link := func(target, name string) {
		t.Helper()
		tmp := filepath.Join(dir, "tmp")
		if err := os.Symlink(target, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	version := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		link(name, "..data")
	}
	version("..1", "rebalance: {settle: 3s}")
	link("..data/config.yaml", "config.yaml")

	synctest.Test(t, func(t *testing.T) {
		opts := Layers{File: filepath.Join(dir, "config.yaml"), Env: noEnv}
		cfg, err := Load(opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Minute, func() { version("..2", "rebalance: {settle: 4s}") })
		defer timer.Stop()
		deadline := time.AfterFunc(time.Hour, cancel)
		defer deadline.Stop()
		var got []time.Duration
		_ = Watch(ctx, opts, cfg, func(cfg Config, err error) {
			got = append(got, cfg.Rebalance.Settle)
			cancel()
		})
		if !slices.Equal(got, []time.Duration{4 * time.Second}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestWatchWithoutAFileWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := Watch(ctx, Layers{Env: noEnv}, Default(), func(Config, error) {
			t.Error("apply was called")
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run returned %v", err)
		}
	})
}
