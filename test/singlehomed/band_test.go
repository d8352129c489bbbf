package singlehomed

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// inBand repeats the arithmetic of the band on purpose: whole connections, tolerance 0.1, floor
// 0.7. It returns the first violation, or nothing if all pods are inside.
func inBand(perPod map[string]int, pods []string) string {
	sum := 0
	for _, n := range perPod {
		sum += n
	}
	mean := float64(sum) / float64(len(pods))
	over := max(math.Ceil(1.1*mean-1e-9), math.Floor(mean)+1)
	for _, pod := range pods {
		switch n := float64(perPod[pod]); {
		case n > over:
			return fmt.Sprintf("%s has %v connections, over %v of %s", pod, n, over, show(perPod))
		case n < 0.7*mean-1e-9:
			return fmt.Sprintf("%s has %v connections, under %.2f of %s", pod, n, 0.7*mean, show(perPod))
		}
	}
	return ""
}

func TestInBand(t *testing.T) {
	pods := []string{"a", "b", "c", "d"}
	for _, tc := range []struct {
		name   string
		counts [4]int
		in     bool
	}{
		{"even", [4]int{15, 15, 15, 15}, true},
		{"at the edges", [4]int{17, 17, 15, 11}, true},
		{"over", [4]int{18, 16, 15, 11}, false},
		{"under", [4]int{17, 17, 16, 10}, false},
		{"a new pod", [4]int{20, 20, 20, 0}, false},
		{"few", [4]int{1, 1, 1, 0}, false},
		{"one above the mean is always allowed", [4]int{3, 2, 2, 2}, true},
	} {
		perPod := map[string]int{}
		for i, n := range tc.counts {
			perPod[pods[i]] = n
		}
		if got := inBand(perPod, pods); (got == "") != tc.in {
			t.Errorf("%s: got %q, want inside the band: %v", tc.name, got, tc.in)
		}
	}
}

// names returns the names of the pods that serve.
func (s *service) names() []string {
	var out []string
	for _, p := range s.pods {
		out = append(out, p.Spec.Name)
	}
	return out
}

// calm is how long a service must be even and send no GOAWAY before it counts as settled.
const calm = 3 * time.Second

// settle waits until the service is even and returns when it became so. Even means: by counts
// the pods are inside the band, each reports balanced and has no draining connection, and no
// GOAWAY is sent.
func (s *service) settle(t *testing.T, limit time.Duration, counts func([]rebalance.Status) map[string]int) time.Time {
	t.Helper()
	since, sent := time.Time{}, -1
	why := ""
	defer func() {
		if t.Failed() {
			t.Log("not even:", why)
			s.dump(t)
		}
	}()
	eventually(t, limit, "the service has not become even", func() bool {
		all := s.statuses(t)
		why = notEven(all, counts(all), s.names())
		if n := rebalanced(all); why != "" || n != sent {
			since, sent = time.Now(), n
		}
		return time.Since(since) > calm
	})
	return since
}

func notEven(all []rebalance.Status, perPod map[string]int, pods []string) string {
	for i := range all {
		if st := &all[i]; st.Verdict != rebalance.Balanced || st.Draining > 0 {
			return fmt.Sprintf("%s is %s with %d draining: %s", st.Pod, st.Verdict, st.Draining, st.Why)
		}
	}
	return inBand(perPod, pods)
}

// expectQuiet checks for the whole span that an even service is left alone.
func (s *service) expectQuiet(t *testing.T, span time.Duration) {
	t.Helper()
	before := s.statuses(t)
	always(t, span, func() {
		now := s.statuses(t)
		if n := rebalanced(now) - rebalanced(before); n != 0 {
			t.Errorf("got %d GOAWAYs although the pods were even", n)
		}
		for i := range now {
			if now[i].Verdict != rebalance.Balanced {
				t.Errorf("%s is %s, want balanced: %s", now[i].Pod, now[i].Verdict, now[i].Why)
			}
		}
	})
}
