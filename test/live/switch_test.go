package live

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// write writes a configuration of the test's.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// allPods reports whether a condition holds of every pod.
func (s *service) allPods(t *testing.T, ok func(*rebalance.Status) bool) bool {
	t.Helper()
	for _, st := range s.statuses(t) {
		if !ok(&st) {
			return false
		}
	}
	return true
}

func (s *service) planned(t *testing.T) (n int) {
	t.Helper()
	for _, st := range s.statuses(t) {
		for _, count := range st.Planned {
			n += int(count)
		}
	}
	return n
}

// In a dry run, 2 pods become 5 and no client gets a GOAWAY, while the pods show what they would
// drain. It is drained once the dry run is over. Then the kill switch holds although the file is
// broken elsewhere, and the second file holds as well.
func TestDryRunAndKillSwitch(t *testing.T) {
	t.Parallel()
	file, second := filepath.Join(t.TempDir(), "evenkeel.yaml"), filepath.Join(t.TempDir(), "switch.yaml")
	write(t, file, "rebalance: {dryRun: true}")
	s := newService(t, 9, exampleServer, "-config", file, "-switch", second)
	s.grow(t, 2)
	cs := start(t, 20, "round_robin", s.target(), false, from(9, 1))
	cs.awaitAnswers(t)
	s.settle(t)
	s.grow(t, 3)
	eventually(t, 30*time.Second, "no pod has planned anything", func() bool { return s.planned(t) > 0 })
	during(20*time.Second, func() {})
	t.Logf("planned: %d", s.planned(t))
	if n, planned := s.goAways(t), s.planned(t); n != 0 || planned != 20 {
		t.Errorf("got %d GOAWAYs and %d planned, want 0 and 20", n, planned)
	}

	write(t, file, "rebalance: {dryRun: false}")
	eventually(t, 120*time.Second, "the clients have not reached the new pods", func() bool {
		return cs.onAll(time.Now().Add(-5*time.Second), podName(3), podName(4), podName(5)) == 20
	})
	if n := s.goAways(t); n != 20 {
		t.Errorf("got %d GOAWAYs after the dry run, want one for each of 20 channels", n)
	}

	for _, tc := range []struct{ file, text, restore string }{
		{file, "rebalance: {enabled: false}\nnoSuchKey: [", "rebalance: {}"},
		{second, "rebalance: {enabled: false}", ""},
	} {
		begun := time.Now()
		write(t, tc.file, tc.text)
		eventually(t, 10*time.Second, "the pods are not off", func() bool {
			return s.allPods(t, func(st *rebalance.Status) bool { return !st.Enabled && condition(st, "switched-off") })
		})
		took := time.Since(begun)
		t.Logf("off after %.1f s, by %s", took.Seconds(), filepath.Base(tc.file))
		if took > 5*time.Second {
			t.Errorf("the kill switch took %v, want 5 s at most", took)
		}
		write(t, tc.file, tc.restore)
		eventually(t, 20*time.Second, "the pods are not on again", func() bool {
			return s.allPods(t, func(st *rebalance.Status) bool { return st.Enabled })
		})
	}
	cs.check(t)
}
