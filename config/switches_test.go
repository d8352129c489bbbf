package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// brokenFiles are files that say rebalance.enabled: false, and that Load refuses or that were
// written by a hand in a hurry.
var brokenFiles = map[string]string{
	"nothing wrong":            "rebalance: {enabled: false}",
	"unknown key":              "rebalance: {enabled: false}\nnoSuchKey: 1",
	"unknown key before":       "noSuchGroup: {a: 1}\nrebalance: {enabled: false}",
	"unknown key beside":       "rebalance: {tolerence: 0.2, enabled: false}",
	"value of the wrong type":  "rebalance: {enabled: false, settle: [1, 2]}",
	"value out of range":       "rebalance: {enabled: false, floor: 7}",
	"no unit":                  "rebalance: {enabled: false, settle: 4}",
	"missing companion":        "rebalance: {enabled: false}\npeers: {source: dns}",
	"quoted":                   `rebalance: {enabled: "false"}`,
	"no instead of false":      "rebalance: {enabled: no}",
	"a word that is no switch": "rebalance: {enabled: flase}",
	"a list":                   "rebalance: {enabled: [false]}",
	"given twice":              "rebalance: {enabled: false, enabled: true}",
	"group given twice":        "rebalance: {enabled: true}\nrebalance: {enabled: false}",
	"dotted":                   "rebalance.enabled: false",
	"another case":             "Rebalance: {Enabled: False}",
	"second document":          "rebalance: {}\n---\nrebalance: {enabled: false}",
	"tab":                      "rebalance:\n\tenabled: false\n",
	"open brace":               "rebalance: {enabled: false",
	"broken further down":      "rebalance:\n  enabled: false\npeers: {source: [",
	"broken further up":        "peers: {source: [\nrebalance:\n  enabled: false\n",
	"conflict marks":           "<<<<<<< mine\nrebalance:\n  enabled: false\n=======\n>>>>>>> theirs\n",
	"control characters":       "rebalance:\n  enabled: false\n# \x01\x00\xff\n",
	"line ends of DOS":         "rebalance:\r\n  enabled: false\r\n  settle: 4\r\n",
	"byte order mark":          "\ufeffrebalance:\n  enabled: false\n",
	"merge key":                "off: &off {enabled: false}\nrebalance: {<<: *off}",
	"too large":                "rebalance: {enabled: false}\n" + strings.Repeat("# more than the loader reads\n", 40_000),
	"template not rendered":    "rebalance:\n  enabled: false\n  settle: {{ .Values.settle }}\n",
}

// The kill switch works in every file that says so, whatever else is wrong in it, and within
// five seconds of the file. So does the dry run.
func TestSwitchesWorkInBrokenFiles(t *testing.T) {
	for name, text := range brokenFiles {
		dry := strings.NewReplacer("no}", "yes}", "enabled: [false]", "dryRun: [true]", "enabled", "dryRun", "Enabled", "DryRun", "false", "true", "False", "True",
			"flase", "treu", "enabled: true", "dryRun: false").Replace(text)
		for _, tc := range []struct {
			text string
			of   func(Switches) string
		}{{text, func(s Switches) string { return s.Off }}, {dry, func(s Switches) string { return s.DryRun }}} {
			synctest.Test(t, func(t *testing.T) {
				file := writeConfig(t, "rebalance: {settle: 3s}")
				w := watchSwitches(t, Layers{File: file, Env: []string{"EVENKEEL_REBALANCE_ENABLED=true"}, Set: []string{"rebalance.enabled=true"}})
				defer w.stop()
				w.write(file, tc.text)
				begun := time.Now()
				for tc.of(w.thrown()) == "" && time.Since(begun) < 5*time.Second {
					time.Sleep(10 * time.Millisecond)
				}
				if tc.of(w.thrown()) != file {
					t.Errorf("%s: 5 s after the file says\n%.80s\nthe switches are %+v", name, tc.text, w.thrown())
				}
			})
		}
	}
	if len(brokenFiles) < 20 {
		t.Errorf("got %d files, want 20", len(brokenFiles))
	}
}

// watchedSwitches runs WatchSwitches inside a synctest bubble.
type watchedSwitches struct {
	t    *testing.T
	stop func()

	mu  sync.Mutex // guards what follows
	now Switches
	n   int
}

func (w *watchedSwitches) set(s Switches) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.n = s, w.n+1
}

func (w *watchedSwitches) thrown() Switches {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func watchSwitches(t *testing.T, layers Layers) *watchedSwitches {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watchedSwitches{t: t, now: ReadSwitches(layers)}
	done := make(chan error)
	go func() { done <- WatchSwitches(ctx, layers, w.thrown(), w.set) }()
	w.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("WatchSwitches returned %v, want %v", err, context.Canceled)
		}
	}
	time.Sleep(3 * time.Second)
	return w
}

func (w *watchedSwitches) write(file, text string) {
	w.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watchedSwitches) want(step, off, dryRun string) {
	w.t.Helper()
	time.Sleep(3 * time.Second)
	synctest.Wait()
	if got, want := w.thrown(), (Switches{off, dryRun}); got != want {
		w.t.Errorf("%s: got %+v, want %+v", step, got, want)
	}
}

// One file stops many releases. It need not exist, and what cannot be understood in it stops.
func TestSwitchFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := writeConfig(t, "rebalance: {settle: 3s}")
		second := filepath.Join(t.TempDir(), "switch.yaml")
		w := watchSwitches(t, Layers{File: file, Env: []string{EnvSwitch + "=" + second}})
		defer w.stop()
		w.want("it does not exist", "", "")
		w.write(second, "rebalance: {enabled: false}")
		w.want("thrown", second, "")
		w.write(second, "rebalance: {enabled: true, dryRun: true}")
		w.want("a dry run", "", second)
		w.write(second, "rebalance: {enabled: true, dryRun: [")
		w.want("broken", "", second)
		w.write(second, "rebalance [")
		w.want("broken, and with nothing to read", second, second)
		w.write(second, "")
		w.want("empty", "", "")
		w.write(file, "rebalance: {enabled: false, dryRun: true}")
		w.want("thrown in the first file", file, file)
		w.write(second, "rebalance: {enabled: false}")
		w.want("in both", file, file)
		w.write(file, "")
		w.want("in the second alone", second, "")
		if err := os.Remove(second); err != nil {
			t.Fatal(err)
		}
		w.want("removed", "", "")
		if err := os.Mkdir(second, 0o700); err != nil {
			t.Fatal(err)
		}
		w.want("it cannot be read", second, "")
	})
}

// A file that cannot be read or understood leaves the switches of Layers.File as they were.
func TestSwitchesStayAsTheyWere(t *testing.T) {
	for _, thrown := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			file, name := writeConfig(t, fmt.Sprintf("rebalance: {enabled: %t}", !thrown)), ""
			if thrown {
				name = file
			}
			w := watchSwitches(t, Layers{File: file, Env: noEnv})
			defer w.stop()
			w.want("at first", name, "")
			w.write(file, "peers: [")
			w.want("not YAML", name, "")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			w.want("removed", name, "")
			w.write(file, "noSuchKey: 1")
			w.want("valid YAML without the key", "", "")
		})
	}
}

// A file that is written in place throws nothing while it is half written.
func TestSwitchesOfAHalfWrittenFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := "rebalance:\n  enabled: true\n"
		file := writeConfig(t, text)
		w := watchSwitches(t, Layers{File: file, Env: noEnv})
		defer w.stop()
		time.Sleep(confirmAfter / 25)
		for i := range 500 {
			w.write(file, text[:i%len(text)]) // no two contents five writes apart are equal
			time.Sleep(confirmAfter / 5)
		}
		w.write(file, text)
		w.want("written", "", "")
		if w.n != 0 {
			t.Errorf("the switches have changed %d times, want never", w.n)
		}
	})
}

func TestSwitchesOver(t *testing.T) {
	cfg := Default()
	if got := (Switches{}).Over(cfg); !got.Rebalance.Enabled || got.Rebalance.DryRun {
		t.Errorf("none is thrown: got %+v", got.Rebalance)
	}
	if got := (Switches{Off: "f", DryRun: "f"}).Over(cfg); got.Rebalance.Enabled || !got.Rebalance.DryRun {
		t.Errorf("both are thrown: got %+v", got.Rebalance)
	}
}

// The flag or the last variable names the second file.
func TestNameOfTheSwitchFile(t *testing.T) {
	l := Layers{Env: []string{EnvSwitch + "=a", EnvSwitch + "=b"}}
	if got := l.switchFile(); got != "b" {
		t.Errorf("got %q, want b", got)
	}
	l.Switch = "c"
	if got := l.switchFile(); got != "c" {
		t.Errorf("got %q, want c", got)
	}
	if _, err := Load(Layers{Env: l.Env}); err != nil {
		t.Errorf("the variable counts as a setting: %v", err)
	}
}
