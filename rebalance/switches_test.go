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

// switched is a Balancer made by Load, whose Run watches two files.
type switched struct {
	*Balancer
	t            *testing.T
	file, second string
}

func loadSwitched(t *testing.T, text string) *switched {
	t.Helper()
	s := &switched{t: t, file: filepath.Join(t.TempDir(), "evenkeel.yaml"), second: filepath.Join(t.TempDir(), "switch.yaml")}
	s.write(s.file, text)
	b, err := Load(config.Layers{File: s.file, Switch: s.second, Env: []string{}}, WithSelf("pod-a", "198.18.0.1"), WithLogger(discard()))
	if err != nil {
		t.Fatal(err)
	}
	s.Balancer = b
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func (s *switched) write(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// want checks what is in force 5 s later, and which conditions show it.
func (s *switched) want(step string, enabled, dryRun bool, conditions ...string) {
	s.t.Helper()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	st := s.Status()
	if st.Enabled != enabled || st.DryRun != dryRun {
		s.t.Errorf("%s: got enabled %t and dry run %t, want %t and %t", step, st.Enabled, st.DryRun, enabled, dryRun)
	}
	for _, want := range conditions {
		code, text, _ := strings.Cut(want, " ")
		found := false
		for _, c := range st.Conditions {
			found = found || c.Code == code && strings.Contains(c.Text, text)
		}
		if !found {
			s.t.Errorf("%s: no condition %q in %+v", step, want, st.Conditions)
		}
	}
	for _, c := range st.Conditions {
		if (c.Code == switchedOff || c.Code == dryRunning) && !strings.Contains(strings.Join(conditions, " "), c.Code) {
			s.t.Errorf("%s: got the condition %s: %s", step, c.Code, c.Text)
		}
	}
}

// The switches are in force within 5 s, whatever else is wrong in the file, and end with it.
func TestSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := loadSwitched(t, "rebalance: {settle: 3s}")
		s.want("nothing is thrown", true, false)
		s.write(s.file, "rebalance: {enabled: false}\nnoSuchKey: 1")
		s.want("off, beside an unknown key", false, false, "switched-off "+s.file)
		s.write(s.file, "rebalance: {settle: 3s}")
		s.want("on again", true, false)
		s.write(s.file, "rebalance: {dryRun: true, settle: 4}")
		s.want("a dry run, beside a wrong value", true, true, "dry-run "+s.file, "config has no unit")
		s.write(s.file, "rebalance: {dryRun: true}")
		s.want("a dry run", true, true, "dry-run "+s.file)
		s.write(s.second, "rebalance: {enabled: false}")
		s.want("off by the second file", false, true, "switched-off "+s.second)
		s.write(s.second, "")
		s.want("on again", true, true, "dry-run")
		if err := s.Apply(config.Default()); err != nil {
			t.Fatal(err)
		}
		s.want("a program cannot undo what the file throws", true, true, "dry-run")
	})
}

// A program that changes one setting keeps no switch thrown: the file alone does.
func TestApplyOfConfigKeepsNoSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := loadSwitched(t, "rebalance: {settle: 3s}")
		s.write(s.second, "rebalance: {enabled: false, dryRun: true}")
		s.want("thrown", false, true, "switched-off "+s.second)
		cfg := s.Config()
		cfg.Rebalance.Settle = 4 * time.Second
		if err := s.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		s.want("still thrown", false, true, "switched-off "+s.second)
		s.write(s.second, "")
		s.want("ended", true, false)
		if got := s.Config().Rebalance.Settle; got != 4*time.Second {
			t.Errorf("settle is %v, want what the program has applied", got)
		}
	})
}

// What a file throws is in force before Run has watched it.
func TestSwitchesAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "switch.yaml")
	if err := os.WriteFile(file, []byte("rebalance: {enabled: false}"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Load(config.Layers{Env: []string{config.EnvSwitch + "=" + file}}, WithSelf("pod-a", "198.18.0.1"), WithLogger(discard()))
	if err != nil {
		t.Fatal(err)
	}
	if b.Status().Enabled {
		t.Error("rebalancing is on, although the switch file says that it is not")
	}
}
