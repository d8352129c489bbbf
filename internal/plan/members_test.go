package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// list lets a membership see a list of pods, after a while.
type list struct {
	membership
	v View
	p Policy
}

func newList(pods ...string) *list {
	l := &list{v: View{Now: time.Hour, Self: "a", Members: pods, Uptime: map[string]time.Duration{}}, p: Policy{Settle: 2 * time.Second}}
	l.observe(&l.v)
	return l
}

func (l *list) after(d time.Duration, pods ...string) *list {
	l.v.Now += d
	l.v.Members = pods
	l.observe(&l.v)
	l.v.Restarted = nil
	return l
}

func (l *list) want(t *testing.T, when string, counted ...string) {
	t.Helper()
	if !slices.Equal(l.counted, counted) {
		t.Errorf("%s: got %v that count, want %v", when, l.counted, counted)
	}
}

// A pod that keeps coming and going counts later each time, until it has stayed for longTenure.
func TestProbationGrowsWithEachReturn(t *testing.T) {
	l := newList("a", "b")
	for returns, want := range []time.Duration{2 * time.Minute, 10 * time.Minute, 30 * time.Minute} {
		l.after(time.Minute, "a")
		l.after(20*time.Second, "a", "b").want(t, "just back", "a")
		l.after(want-time.Second, "a", "b").want(t, fmt.Sprintf("return %d, shortly before %v", returns+1, want), "a")
		l.after(time.Second, "a", "b").want(t, fmt.Sprintf("return %d, after %v", returns+1, want), "a", "b")
	}
}

// A pod that restarted is worth its clients sooner than a process whose readiness flips. Its
// uptime shows which it is.
func TestFlipsAreTakenMoreSeriouslyThanRestarts(t *testing.T) {
	for _, tc := range []struct {
		name      string
		uptime    time.Duration // when it is back
		probation time.Duration
	}{{"restarted", time.Second, 2 * time.Minute}, {"the same process", time.Hour, 5 * time.Minute}} {
		l := newList("a", "b")
		l.after(time.Minute, "a")
		l.v.Uptime["b"] = tc.uptime
		l.after(20*time.Second, "a", "b")
		l.after(tc.probation-time.Second, "a", "b").want(t, tc.name+", before", "a")
		l.after(time.Second, "a", "b").want(t, tc.name+", after", "a", "b")
	}
}

// After a long tenure a pod may restart as any other: it counts at once if it is known that
// it has restarted.
func TestLongTenureIsForgiven(t *testing.T) {
	l := newList("a", "b")
	l.after(longTenure+time.Minute, "a", "b")
	l.after(time.Second, "a")
	l.v.Uptime["b"] = time.Second
	l.after(20*time.Second, "a", "b")
	l.after(judgeReturn, "a", "b").want(t, "after a long tenure", "a", "b")
}

// A restart that the membership never showed is one, too.
func TestRestartInPlace(t *testing.T) {
	l := newList("a", "b")
	l.v.Restarted = []string{"b"}
	l.after(time.Minute, "a", "b").want(t, "restarted", "a")
	l.after(2*time.Minute, "a", "b").want(t, "later", "a", "b")
}

// A pod that stops in good order is forgotten: another may come in its place, as in a
// StatefulSet.
func TestCleanStopIsForgotten(t *testing.T) {
	l := newList("a", "b")
	l.v.Stopping = []string{"b"}
	l.after(time.Minute, "a")
	l.v.Stopping = nil
	l.after(20*time.Second, "a", "b").want(t, "just back", "a", "b")
}

// This pod always counts: it knows that it runs.
func TestSelfIsNeverOnProbation(t *testing.T) {
	l := newList("a", "b")
	l.after(time.Minute, "b")
	l.after(time.Second, "a", "b").want(t, "just back", "a", "b")
}

// A pod that was away for long returns as a new one.
func TestPodsAreForgotten(t *testing.T) {
	l := newList("a", "b", "c")
	l.after(time.Minute, "a", "c")
	l.after(forgetPod+time.Minute, "a") // a change, at which the old ones are forgotten
	l.after(time.Second, "a", "b").want(t, "after an hour", "a", "b")
}

// While pods run several revisions after one was replaced, others are going to be replaced.
func TestRollingByRevisions(t *testing.T) {
	l := newList("a", "b", "c")
	l.v.Uptime = map[string]time.Duration{"a": time.Hour, "c": time.Hour}
	l.v.Revisions = 2
	l.after(time.Minute, "a", "b", "c", "d")
	l.after(time.Second, "a", "c", "d")
	if !l.rolling(&l.v) {
		t.Error("got no rollout with two revisions")
	}
	l.after(longestPatience-time.Second, "a", "c", "d")
	if !l.rolling(&l.v) {
		t.Error("got the end of a rollout that merely takes long")
	}
	l.after(2*time.Second, "a", "c", "d")
	if l.rolling(&l.v) {
		t.Error("got a rollout that is stuck, want it to be given up")
	}
	l.v.Revisions = 1
	l.after(time.Second, "a", "c", "d")
	if l.replaced.last != 0 {
		t.Errorf("got %+v after all pods run one revision, want the series forgotten", l.replaced)
	}
}

// A pod that merely leaves makes evenness wait no longer, however far apart changes were.
func TestEvenFromAfterAPodLeft(t *testing.T) {
	l := newList("a", "b")
	l.after(time.Minute, "a", "b", "c")
	l.after(20*time.Second, "a", "b")
	if got := l.evenFrom(&l.p) - l.v.Now; got != l.p.Settle+proxyWait {
		t.Errorf("got a wait of %v after a pod left, want %v", got, l.p.Settle+proxyWait)
	}
}

// Clients of a pod that was removed have found those that were there by then.
func TestBeforeRemoval(t *testing.T) {
	l := newList("a", "b", "c")
	if got := l.beforeRemoval(); len(got) > 0 {
		t.Errorf("got %v although none was removed", got)
	}
	l.after(time.Minute, "a", "b")
	l.after(10*time.Second, "a", "b", "d")
	if got := l.beforeRemoval(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v, want those that are older than the removal", got)
	}
	l.v.Restarted = []string{"b"}
	l.after(time.Minute, "a", "b", "d")
	if got := l.beforeRemoval(); slices.Contains(got, "b") {
		t.Errorf("got %v, want them without b, which lost its clients", got)
	}
}

// A pod that leaves soon after it came replaces none.
func TestFlippingPodReplacesNone(t *testing.T) {
	l := newList("a", "b")
	l.v.Uptime = map[string]time.Duration{"a": time.Hour, "b": time.Hour}
	l.after(time.Minute, "a", "b", "c")
	l.after(20*time.Second, "a", "b")
	if l.rolling(&l.v) {
		t.Error("got a rollout although the new pod left")
	}
	l.after(20*time.Second, "a", "b", "d")
	l.after(20*time.Second, "b", "d")
	if !l.rolling(&l.v) {
		t.Error("got no rollout although an old pod left for a new one")
	}
}

// The last pod to be replaced leaves in the very view in which all run one revision.
func TestRollingEndsWithTheLastPod(t *testing.T) {
	l := newList("a", "b", "c")
	l.v.Uptime = map[string]time.Duration{"a": time.Hour, "b": time.Hour, "c": time.Hour}
	l.v.Revisions = 2
	l.after(time.Minute, "a", "b", "c", "d")
	l.after(time.Second, "a", "b", "d")
	l.after(time.Minute, "a", "b", "d", "e")
	if !l.rolling(&l.v) {
		t.Error("got no rollout with two revisions")
	}
	l.v.Revisions = 1
	l.after(time.Second, "a", "d", "e")
	if l.rolling(&l.v) {
		t.Error("got a rollout after the last pod was replaced")
	}
}

// Without revisions the pattern shows it: a pod was replaced, and others are older than that.
// The next is waited for twice as long as the last took.
func TestRollingByPattern(t *testing.T) {
	for _, tc := range []struct {
		name      string
		revisions int
		every     time.Duration
		old       bool
		patience  time.Duration // 0: it is not taken for a rollout
	}{
		{"one each minute", 0, time.Minute, true, shortestPatience},
		{"one each 5 min", 0, 5 * time.Minute, true, 10 * time.Minute},
		{"one revision, as when nodes are drained", 1, 20 * time.Second, true, knownPatience},
		{"nobody is left to be replaced", 0, time.Minute, false, 0},
	} {
		l := newList("a", "b", "c", "d")
		l.v.Revisions = tc.revisions
		up := func(all time.Duration) {
			for _, pod := range []string{"a", "c", "d"} {
				l.v.Uptime[pod] = all
			}
		}
		if up(time.Hour); !tc.old {
			up(time.Second)
		}
		l.after(tc.every, "a", "c", "d", "x")
		l.after(tc.every, "a", "d", "x", "y")
		quiet := func(d time.Duration) bool { return !l.after(d, "a", "d", "x", "y").rolling(&l.v) }
		if got := l.rolling(&l.v); got != (tc.patience > 0) {
			t.Errorf("%s: got rolling %v", tc.name, got)
		}
		if tc.patience > 0 && (quiet(tc.patience-time.Second) || !quiet(time.Second)) {
			t.Errorf("%s: want the end of the rollout after %v", tc.name, tc.patience)
		}
	}
}

// Pods that come alone are no rollout.
func TestScaleUpIsNoRollout(t *testing.T) {
	l := newList("a", "b")
	l.v.Uptime = map[string]time.Duration{"a": time.Hour, "b": time.Hour}
	if l.after(time.Minute, "a", "b", "c").rolling(&l.v) {
		t.Error("got a rollout after a pod came")
	}
}

// Where it is known that nobody is starting, the last pod's readiness is followed at once,
// unless the list itself has just changed.
func TestQuickSettle(t *testing.T) {
	for _, tc := range []struct {
		name      string
		known     bool
		revisions int
		started   time.Duration // how long ago the list grew
		want      time.Duration // after the pod became ready
	}{
		{"known", true, 1, 10 * time.Second, quickSettle},
		{"not known", false, 1, 10 * time.Second, 2 * time.Second},
		{"several revisions", true, 2, 10 * time.Second, 2 * time.Second},
		{"revisions not known", true, 0, 10 * time.Second, 2 * time.Second},
		{"the list has just grown", true, 1, 200 * time.Millisecond, 300 * time.Millisecond}, // a quarter of Settle in all
	} {
		l := newList("a", "b")
		l.v.StartingKnown, l.v.Revisions = tc.known, tc.revisions
		l.v.Starting = 1
		l.after(time.Minute, "a", "b")
		l.v.Starting = 0
		l.after(tc.started, "a", "b", "c")
		if got := l.quietFrom(&l.v, &l.p) - l.v.Now; got != tc.want {
			t.Errorf("%s: got quiet after %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Clients of a removed pod resolve when it drains them, and so find new pods by themselves.
func TestResolvedAt(t *testing.T) {
	l := newList("a", "b")
	if got := l.resolvedAt(); got != 0 {
		t.Errorf("got %v before any pod left, want nothing to wait for", got)
	}
	l.after(time.Minute, "a", "b", "c")
	l.after(time.Second, "a", "c")
	if got := l.resolvedAt() - l.v.Now; got != stopping+resolverWait {
		t.Errorf("got a wait of %v, want until its clients have been drained and have resolved", got)
	}
	l.after(stopping, "a", "c", "d")
	if got := l.resolvedAt(); got != 0 {
		t.Errorf("got %v, want nothing to wait for: the pod that came later is not known to those clients", got)
	}
}

// Evenness waits as long as changes are apart, but not forever.
func TestEvenFrom(t *testing.T) {
	l := newList("a")
	l.after(time.Minute, "a", "b")
	if got := l.evenFrom(&l.p) - l.v.Now; got != l.p.Settle+proxyWait {
		t.Errorf("got a wait of %v after one change, want %v", got, l.p.Settle+proxyWait)
	}
	l.after(20*time.Second, "a", "b", "c")
	if got := l.evenFrom(&l.p) - l.v.Now; got != 20*time.Second {
		t.Errorf("got a wait of %v after changes 20 s apart, want as long", got)
	}
	for i := range 4 {
		l.after(20*time.Second, append([]string{"a", "b", "c"}, "d", "e", "f", "g")[:4+i]...)
	}
	if got := l.evenFrom(&l.p) - l.v.Now; got != l.p.Settle+proxyWait {
		t.Errorf("got a wait of %v in a long burst, want %v", got, l.p.Settle+proxyWait)
	}
	l.v.Stopping = []string{"d", "e", "f", "g"}
	l.after(10*time.Minute, "a", "b", "c")
	if got := l.evenFrom(&l.p) - l.v.Now; got != stopping/2 {
		t.Errorf("got a wait of %v while pods stop, want half of the time in which they drain their clients", got)
	}
}

// Whatever the source lists, the pods that count are listed, this pod counts while it is
// listed, and every probation ends.
func TestAnyMembership(t *testing.T) {
	pods := []string{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		l := newList("a")
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			some := rapid.SliceOfNDistinct(rapid.SampledFrom(pods[1:]), 0, 4, func(s string) string { return s }).Draw(t, "pods")
			if rapid.IntRange(0, 9).Draw(t, "self is missing") > 0 {
				some = append(some, "a")
			}
			slices.Sort(some)
			l.v.Restarted = rapid.SliceOfNDistinct(rapid.SampledFrom(pods), 0, 1, func(s string) string { return s }).Draw(t, "restarted")
			l.v.Restarted = both(l.v.Restarted, some)
			l.v.Stopping = without(pods, some)
			if rapid.Bool().Draw(t, "crash") {
				l.v.Stopping = nil
			}
			for _, pod := range pods {
				l.v.Uptime[pod] = time.Duration(rapid.IntRange(0, 3600).Draw(t, "uptime")) * time.Second
			}
			l.after(time.Duration(rapid.IntRange(0, 600).Draw(t, "pause"))*time.Second, some...)
			if len(without(l.counted, l.listed)) > 0 {
				t.Fatalf("%v count, but %v are listed", l.counted, l.listed)
			}
			if len(both([]string{"a"}, l.listed)) != len(both([]string{"a"}, l.counted)) {
				t.Fatalf("this pod is listed (%v) and does not count (%v)", l.listed, l.counted)
			}
			if l.onProbation() > 0 && l.nextEnd <= l.v.Now {
				t.Fatalf("%d pods are on probation, but none ends: the next at %v, now %v", l.onProbation(), l.nextEnd, l.v.Now)
			}
		}
		l.after(forgetPod, l.listed...)
		if l.onProbation() > 0 {
			t.Fatalf("%v count an hour later, want all of %v", l.counted, l.listed)
		}
	})
}
