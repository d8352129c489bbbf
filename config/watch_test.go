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

// watched runs Watch on a file inside a synctest bubble and records the calls of apply.
type watched struct {
	t     *testing.T
	file  string
	calls []applied
}

type applied struct {
	settle time.Duration
	err    error
}

// watch calls script while Watch runs on a file with the given text.
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
			t.Errorf("Watch returned %v, want %v", err, context.Canceled)
		}
	})
}

func (w *watched) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// wait lets Watch read the file at least twice.
func (w *watched) wait() {
	time.Sleep(2*watchInterval + time.Second)
	synctest.Wait()
}

// want checks the calls of apply since the last want. Each is given as a settle time,
// followed by "!" and a part of the text if apply got an error.
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
		w.t.Errorf("%s: calls of apply are %v, want %q", step, w.calls, calls)
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
		w.want("invalid", "4s!rebalance.setle: unknown key, did you mean rebalance.settle?")
		w.want("still invalid")
		w.write("rebalance: {settle: 5}")
		w.want("invalid in another way", `4s!"5" has no unit`)
		w.write("rebalance: {settle: 4s}")
		w.want("valid again", "4s")
		w.write("rebalance: [")
		w.want("not YAML", "4s!not valid YAML")
		w.write("rebalance: {settle: 6s}")
		w.want("valid and changed", "6s")
		w.write("")
		w.want("empty, so the defaults", "2s")
	})
}

func TestWatchKeepsTheConfigurationOfAMissingFile(t *testing.T) {
	watch(t, "rebalance: {settle: 3s}", nil, func(w *watched) {
		if err := os.Remove(w.file); err != nil {
			t.Fatal(err)
		}
		w.wait()
		if len(w.calls) != 1 || w.calls[0].settle != 3*time.Second || !errors.Is(w.calls[0].err, fs.ErrNotExist) {
			t.Errorf("calls of apply are %v, want one with 3s and %v", w.calls, fs.ErrNotExist)
		}
		w.calls = nil
		w.want("still missing")
		w.write("rebalance: {settle: 3s}")
		w.want("back", "3s")
	})
}

func TestSetOverridesTheWatchedFile(t *testing.T) {
	watch(t, "rebalance: {settle: 3s}", []string{"rebalance.settle=9s"}, func(w *watched) {
		w.write("rebalance: {settle: 4s}")
		w.want("overridden by -set")
		w.write("rebalance: {settle: 4s, spread: 9s}")
		w.want("another key", "9s")
	})
}

// A change between Load and Watch must not be lost.
func TestWatchNoticesAChangeSinceLoad(t *testing.T) {
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

// A file that is written in place is empty for a moment, and an empty file is valid. The
// defaults must not take effect for that moment.
func TestWatchIgnoresAHalfWrittenFile(t *testing.T) {
	watch(t, "rebalance: {settle: 3s}", nil, func(w *watched) {
		// Watch reads at multiples of confirmAfter. Writes avoid these moments, and no two
		// contents five writes apart are equal.
		time.Sleep(confirmAfter / 25)
		for i := range 500 {
			w.write(strings.Repeat("#", i%7))
			time.Sleep(confirmAfter / 5)
		}
		w.write("rebalance: {settle: 4s}")
		w.want("written", "4s")
	})
}

// A ConfigMap is mounted as file -> ..data/file and ..data -> ..2026_11_22. It changes when
// ..data is replaced by a rename.
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
			t.Errorf("Watch returned %v, want %v", err, context.DeadlineExceeded)
		}
	})
}
