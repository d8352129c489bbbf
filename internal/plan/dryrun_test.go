package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// dryFleet is a fleet in a dry run, with what its pods have planned.
type dryFleet struct {
	*fleet
	planned map[reason.Reason]int
	said    []string // what the notes say
	why     map[string]string
}

func newDryFleet(pods, channels, singleHomed int) *dryFleet {
	f := &dryFleet{fleet: newFleet(pods, channels, max(channels, 1)), planned: map[reason.Reason]int{}, why: map[string]string{}}
	f.addSingleHomed(singleHomed)
	f.policy.DryRun = true
	f.hook = func(pod string, st *Step) {
		for _, p := range st.Planned {
			f.planned[p.Reason] += p.Count
		}
		for _, n := range st.Notes {
			if n.Action == "planned" {
				f.said = append(f.said, n.Why)
			}
		}
		f.why[pod] = st.Why
	}
	return f
}

// wantDry checks that nothing was drained, and what was planned.
func (f *dryFleet) wantDry(t *testing.T, r reason.Reason, least, most int) {
	t.Helper()
	if len(f.sentAt) > 0 {
		t.Errorf("got %d GOAWAYs in a dry run, want none: %v", len(f.sentAt), f.goaways)
	}
	if n := f.planned[r]; n < least || n > most {
		t.Errorf("got %d planned for %s, want %d to %d (all: %v)", n, r, least, most, f.planned)
	}
}

// A growth is decided once, however long the dry run lasts, and is carried out when it ends.
func TestDryRunOfAGrowth(t *testing.T) {
	f := newDryFleet(2, 40, 0)
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.runBy(time.Second, time.Hour)
	f.wantDry(t, reason.Reach, 40, 40)
	if len(f.said) == 0 || !strings.Contains(f.said[0], "would drain") || !strings.Contains(f.said[0], "within") {
		t.Errorf("the decisions are %q, want how many connections and how long", f.said)
	}
	for pod, v := range f.verdicts {
		if v != Waiting && v != Balanced {
			t.Errorf("%s: the verdict is %s, want waiting or balanced: %s", pod, v, f.why[pod])
		}
		if s := f.states[pod]; s.Unreached() > 0 || s.Paused() || s.Reaching() {
			t.Errorf("%s: unreached %d, paused %t, reaching %t, want none", pod, s.Unreached(), s.Paused(), s.Reaching())
		}
	}
	f.policy.DryRun = false
	f.run(10 * time.Minute)
	f.wantOnAll(t)
	if n := f.goaways[reason.Reach]; n != 40 {
		t.Errorf("got %d GOAWAYs after the dry run, want 40", n)
	}
}

// Another growth is another decision, about the clients of both.
func TestDryRunOfTwoGrowths(t *testing.T) {
	f := newDryFleet(2, 40, 0)
	f.run(time.Minute)
	for _, n := range []int{3, 5} {
		f.scale(n)
		f.resolveAll()
		f.run(10 * time.Minute)
	}
	f.wantDry(t, reason.Reach, 80, 80)
	f.scaleTo(2)
	f.resolveAll()
	f.run(10 * time.Minute)
	f.wantDry(t, reason.Reach, 80, 80)
	f.wantVerdicts(t, Balanced)
}

// Evenness is decided once, in full and without a first look, and is carried out later.
func TestDryRunOfEvenness(t *testing.T) {
	f := newDryFleet(2, 0, 60)
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.runBy(time.Second, time.Hour)
	f.wantDry(t, reason.Even, 36, 48) // 36 must move, and one in five comes back to the same pod
	for pod, v := range f.verdicts {
		if v != Waiting && v != Balanced && v != Unbalanceable || v == Unbalanceable && len(f.conns[pod]) > 0 {
			t.Errorf("%s: the verdict is %s: %s", pod, v, f.why[pod])
		}
	}
	f.policy.DryRun = false
	f.run(10 * time.Minute)
	f.wantInBand(t)
}

// A decision ends with its cause, and another cause is another decision.
func TestDryRunEndsWithItsCause(t *testing.T) {
	f := newDryFleet(4, 0, 100)
	f.runBy(time.Second, 2*time.Hour)
	f.wantDry(t, reason.Even, 0, 0)
	extra := f.arrive(f.pods[0], 30)
	f.runBy(time.Second, 30*time.Minute)
	first := f.planned[reason.Even]
	f.wantDry(t, reason.Even, 15, 30)
	f.depart(f.pods[0], extra)
	f.runBy(time.Second, 30*time.Minute)
	f.wantVerdicts(t, Balanced)
	f.arrive(f.pods[0], 30)
	f.runBy(time.Second, 30*time.Minute)
	f.wantDry(t, reason.Even, 2*first-3, 2*first+3)
}

// A dry run that begins in the middle of a round stops it at once.
func TestDryRunStopsARound(t *testing.T) {
	f := newDryFleet(2, 200, 0)
	f.policy.DryRun = false
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.run(3 * time.Second)
	sent := len(f.sentAt)
	if sent == 0 || sent == 200 {
		t.Fatalf("got %d of 200 GOAWAYs, want it in the middle of the round", sent)
	}
	f.policy.DryRun = true
	f.runBy(time.Second, time.Hour)
	if n := len(f.sentAt); n != sent {
		t.Errorf("got %d more GOAWAYs in the dry run, want none", n-sent)
	}
	if n := f.planned[reason.Reach]; n < 200-sent || n > 205-sent {
		t.Errorf("got %d planned, want the other %d", n, 200-sent)
	}
}

// A pod that is out of the Service would drain its clients, and says so once.
func TestDryRunOfAnEvacuation(t *testing.T) {
	f := newDryFleet(3, 0, 60)
	f.run(time.Minute)
	f.unlist(f.pods[2])
	f.runBy(time.Second, time.Hour)
	f.wantDry(t, reason.Evacuation, 20, 20)
	f.policy.DryRun = false
	f.run(5 * time.Minute)
	if n := f.goaways[reason.Evacuation]; n < 20 {
		t.Errorf("got %d GOAWAYs after the dry run, want 20", n)
	}
}

// An overloaded pod would shed, and says so under that reason.
func TestDryRunOfAnOverload(t *testing.T) {
	f := newDryFleet(4, 0, 200)
	f.run(10 * time.Minute)
	f.overloaded = map[string]bool{f.pods[0]: true}
	f.runBy(time.Second, 30*time.Minute)
	f.wantDry(t, reason.Overload, 1, 60)
}

// The kill switch stands above the dry run, and the age beside it.
func TestDryRunLeavesTheAgeInForce(t *testing.T) {
	f := newDryFleet(2, 20, 0)
	f.policy.MaxAge = time.Minute
	f.run(5 * time.Minute)
	if f.goaways[reason.Age] == 0 {
		t.Error("the backstop age has stopped")
	}
	f.policy.Enabled = false
	f.run(time.Second)
	f.wantVerdicts(t, Disabled)
}

// arrive connects n clients to a pod, and returns their connections. depart ends these.
func (f *fleet) arrive(pod string, n int) map[uint64]bool {
	ids := map[uint64]bool{}
	for range n {
		f.place(pod, &singleClient{key: fmt.Sprintf("extra-%d", f.nextID)}, false)
		ids[f.nextID] = true
	}
	return ids
}

func (f *fleet) depart(pod string, ids map[uint64]bool) {
	f.conns[pod] = slices.DeleteFunc(f.conns[pod], func(c Conn) bool { return ids[c.ID] })
}
