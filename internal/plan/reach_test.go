package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func TestGrowthCostsOneGoAwayPerChannel(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ from, to, channels, keys int }{
		{2, 5, 100, 100},
		{2, 5, 20, 1}, // all from one address
		{1, 3, 100, 10},
		{10, 11, 200, 37},
		{3, 30, 60, 4},
	} {
		t.Run(fmt.Sprintf("%dto%d_%dchannels_%dkeys", tc.from, tc.to, tc.channels, tc.keys), func(t *testing.T) {
			f := newFleet(tc.from, tc.channels, tc.keys)
			f.run(time.Minute)
			f.scale(tc.to)
			f.resolveAll()
			f.run(10 * time.Minute)
			f.wantOnAll(t)
			if got := f.goaways[reason.Reach]; got != tc.channels {
				t.Errorf("got %d GOAWAYs for %d channels, want one each", got, tc.channels)
			}
			f.wantVerdicts(t, Balanced)
		})
	}
}

func TestNoDrainBeforeDNSListsAllPods(t *testing.T) {
	f := newFleet(2, 20, 20)
	f.run(time.Minute)
	f.scale(5)
	f.run(20 * time.Second)
	if got := f.goaways[reason.Reach]; got != 0 {
		t.Fatalf("got %d GOAWAYs before DNS lists all pods, want none", got)
	}
	for _, pod := range []string{"10.0.0.01", "10.0.0.05"} { // an old one and a new one
		if got := f.verdicts[pod]; got != Waiting {
			t.Errorf("pod %s: got verdict %s, want waiting", pod, got)
		}
	}
	f.resolveAll()
	f.run(5 * time.Second)
	f.wantOnAll(t)
	if got := f.goaways[reason.Reach]; got != 20 {
		t.Errorf("got %d GOAWAYs, want 20", got)
	}
}

func TestOneRoundIfNoPodAnswers(t *testing.T) {
	f := newFleet(2, 20, 20)
	f.blind = true
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.run(5 * time.Minute)
	f.wantOnAll(t)
	if got := f.goaways[reason.Reach]; got != 20 {
		t.Errorf("got %d GOAWAYs, want 20", got)
	}
}

// A growth that was abandoned on a stale view has drained nobody: that multi-homed clients
// are not on the new pods does not make them single-homed.
func TestAbandonedGrowthMakesNobodySingleHomed(t *testing.T) {
	f := newFleet(2, 20, 20)
	f.run(5 * time.Minute)
	f.scale(4)
	f.run(10 * time.Second) // DNS is behind
	f.stale = true
	f.run(10 * time.Second)
	f.stale = false
	f.run(2 * time.Minute)
	if got := len(f.sentAt); got != 0 {
		t.Errorf("got %d GOAWAYs to clients that cannot know the new pods, want none", got)
	}
}

// All pods but one restart, and others come at the same time: the client of the one knows none
// of them. That they do not hold it does not make it single-homed.
func TestPodsOfAnUntoldGrowthAreNoWitnesses(t *testing.T) {
	f := newFleet(1, 1, 1)
	f.run(time.Minute)
	f.scaleTo(4)
	f.resolveAll()
	f.run(2 * time.Minute)
	f.scaleTo(1)
	f.resolveAll()
	f.scaleTo(7)
	f.run(14 * time.Second)
	f.resolveAll()
	f.run(12 * time.Minute)
	f.wantOnAll(t)
}

// A pod that abandons a growth must not keep the others waiting for it.
func TestReachingEndsWithTheGrowth(t *testing.T) {
	for name, change := range map[string]func(*View, *Policy){
		"stale":    func(v *View, _ *Policy) { v.Stale = "the API server is unreachable" },
		"disabled": func(_ *View, p *Policy) { p.Enabled = false },
	} {
		f := newFleet(2, 20, 20)
		f.run(time.Minute)
		f.scale(4)
		f.resolveAll()
		f.run(f.policy.Settle + 2*time.Second)
		i := slices.IndexFunc(f.pods, func(pod string) bool { s := f.states[pod]; return s.Reaching() })
		if i < 0 {
			t.Fatal("got no pod that is reaching, want one")
		}
		v, p := View{Now: f.now, Self: f.pods[i], Members: f.pods}, f.policy
		change(&v, &p)
		if s, _ := Next(f.states[f.pods[i]], &v, &p); s.Reaching() {
			t.Errorf("%s: the pod is still reaching, want it to stop", name)
		}
	}
}

// Later rounds only make sure that every client has been reached. Where the first one found
// nobody to drain, they must not keep evenness waiting, nor show as if connections moved.
func TestRoundsThatFindNobodyDoNotShow(t *testing.T) {
	f := newFleet(3, 0, 1)
	f.addSingleHomed(60)
	f.run(time.Minute)
	f.scale(4)
	f.resolveAll()
	f.run(time.Minute) // long enough to become even
	f.wantVerdicts(t, Balanced)
	for end := f.now + 5*time.Minute; f.now < end && !t.Failed(); {
		f.step(100 * time.Millisecond)
		f.wantVerdicts(t, Balanced)
		for _, pod := range f.pods {
			if s := f.states[pod]; s.Reaching() {
				t.Errorf("%v after the growth, %s is reaching, though it has nobody to drain", f.now-f.dnsFull, pod)
			}
		}
	}
}
