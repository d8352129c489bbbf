//go:build linux && e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// awayWithin bounds the time until a pod that is out of its Service has no clients. It waits
// for 30 s to be sure that it is out. A client that is drained then may have to wait for 30 s
// until its resolver may ask.
const awayWithin = 75 * time.Second

// gate is a condition that pods of a gated release need to be ready.
const gate = "e2e.local/open"

// A pod that is taken out of the Service alive drains its clients, and no other pod drains any.
func TestReadinessOff(t *testing.T) {
	t.Parallel()
	c := cluster.Shared(t, cluster.Options{})
	r := install(t, c, 0)
	c.Kubectl(t, "-n", r.ns, "patch", "deploy/hello", "--type=merge", "-p",
		`{"spec":{"replicas":4,"template":{"spec":{"readinessGates":[{"conditionType":"`+gate+`"}]}}}}`)
	r.awaitPods(t, 4)
	for _, p := range r.pods(t) {
		r.open(t, p.Name, true)
	}
	r.c.WaitRollout(t, r.ns, "hello")
	r.leaves(t, func(pod string) { r.open(t, pod, false) }, 3, true)
}

// A pod whose labels no longer match is replaced by its ReplicaSet while it lives on. The new pod
// may get its part of the single-homed clients. Multi-homed ones find it by themselves.
func TestLabelRemoved(t *testing.T) {
	t.Parallel()
	r := install(t, cluster.Shared(t, cluster.Options{}), 4)
	r.leaves(t, func(pod string) {
		r.c.Kubectl(t, "-n", r.ns, "label", "pod", pod, "app.kubernetes.io/instance-")
	}, 4, false)
}

// awaitPods waits until as many pods have addresses.
func (r *release) awaitPods(t *testing.T, n int) {
	t.Helper()
	r.c.Eventually(t, fmt.Sprintf("%d pods", n), time.Minute, func(context.Context) (bool, error) {
		return len(r.pods(t)) == n, nil
	})
}

// open opens or closes the gate of a pod.
func (r *release) open(t *testing.T, pod string, open bool) {
	t.Helper()
	status := map[bool]string{true: "True", false: "False"}[open]
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q}]}}`, gate, status)
	_, err := r.c.Client().CoreV1().Pods(r.ns).Patch(t.Context(), pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
}

// singles is the number of single-homed clients of a test, and mayMove how many of them the pods
// that stay may drain: the part of one pod of four.
const (
	singles = 12
	mayMove = singles / 4
)

// leaves takes a pod out of the Service by takeOut, under load of multi-homed and single-homed
// clients. The Service then has left pods. The other pods drain at most mayMove single-homed
// clients, and no other. If nothing replaces the pod, they may drain as many as came from it,
// since these land on any pod.
func (r *release) leaves(t *testing.T, takeOut func(pod string), left int, fewer bool) {
	t.Helper()
	multi := r.load(t)
	single := r.c.Load(t, r.ns, cluster.Load{
		Name: "single", Target: "dns:///hello." + r.ns + ".svc.cluster.local.:50051", LB: "pick_first", Channels: singles,
	})
	before := r.settled(t)
	pods := r.pods(t)
	out, others := pods[0], pods[1:]
	begun := time.Now()
	takeOut(out.Name)
	r.c.WaitEndpoints(t, r.ns, "hello-headless", left)
	var last cluster.Status
	r.c.Eventually(t, "the pod that is out has no clients", awayWithin, func(ctx context.Context) (_ bool, err error) {
		if last, err = r.c.TryStatus(ctx, out); err != nil {
			return false, err
		}
		gone := last.Verdict == "draining" && r.callsOf(t, out.Name, multi, single) == 0
		return gone, fmt.Errorf("%s has %d connections, and reports: %s", out.Name, last.Connections, last.Text())
	})
	t.Logf("%s had no calls %.1f s after it was taken out: %v, %s", out.Name, time.Since(begun).Seconds(), last.GoAways, last.Text())
	most := mayMove
	if came := last.Sent("evacuation") - cluster.Channels; fewer {
		most = max(most, came)
	}
	r.untouched(t, others, before, most)
	noFailures(t, multi)
	noFailures(t, single)
}

// settled waits until no pod has had connections to move for 15 s, which is longer than a new
// pod takes to settle, and returns the status of each by its name. A growth may take several
// rounds of 30 s.
func (r *release) settled(t *testing.T) map[string]cluster.Status {
	t.Helper()
	all := map[string]cluster.Status{}
	since := time.Now()
	r.c.Eventually(t, "no pod has moved connections for 15 s", 4*time.Minute, func(ctx context.Context) (bool, error) {
		for _, p := range r.pods(t) {
			s, err := r.c.TryStatus(ctx, p)
			if err != nil {
				return false, err
			}
			if all[p.Name] = s; s.Verdict != "balanced" && s.Verdict != "unbalanceable" {
				since = time.Now()
				return false, fmt.Errorf("%s: %s", p.Name, s.Text())
			}
		}
		return time.Since(since) > 15*time.Second, fmt.Errorf("for %s so far", time.Since(since))
	})
	return all
}

// untouched checks that pods have drained no multi-homed clients since before, and at most so
// many others.
func (r *release) untouched(t *testing.T, pods []cluster.Pod, before map[string]cluster.Status, most int) {
	t.Helper()
	var even int
	for _, p := range pods {
		s, err := r.c.TryStatus(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		was := before[p.Name]
		even += s.Sent("even") - was.Sent("even")
		if s.Sent()-s.Sent("even") > was.Sent()-was.Sent("even") {
			t.Errorf("%s sent needless GOAWAYs: %v, %v before", p.Name, s.GoAways, was.GoAways)
		}
	}
	if t.Logf("the other pods drained %d of %d single-homed clients", even, singles); even > most {
		t.Errorf("got %d single-homed clients drained by the other pods, want %d at most", even, most)
	}
}

// callsOf returns the calls that a pod has answered in the last full seconds.
func (r *release) callsOf(t *testing.T, pod string, loads ...*cluster.Loader) (calls int) {
	t.Helper()
	for _, l := range loads {
		reports := l.Reports(t)
		for _, one := range reports[max(0, len(reports)-3):] {
			calls += one.Calls[pod]
		}
	}
	return calls
}
