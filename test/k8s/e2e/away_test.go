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
	r.leaves(t, func(pod string) { r.open(t, pod, false) }, 3, 0)
}

// A pod whose labels no longer match is replaced by its ReplicaSet while it lives on. The new pod
// may get its part of the 12 single-homed clients. Multi-homed ones find it by themselves.
func TestLabelRemoved(t *testing.T) {
	t.Parallel()
	r := install(t, cluster.Shared(t, cluster.Options{}), 4)
	r.leaves(t, func(pod string) {
		r.c.Kubectl(t, "-n", r.ns, "label", "pod", pod, "app.kubernetes.io/instance-")
	}, 4, 12/4)
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

// leaves takes a pod out of the Service by takeOut, under load of multi-homed and single-homed
// clients. The Service then has left pods. The other pods drain at most mayMove single-homed
// clients, and no other.
func (r *release) leaves(t *testing.T, takeOut func(pod string), left, mayMove int) {
	t.Helper()
	multi := r.load(t)
	single := r.c.Load(t, r.ns, cluster.Load{
		Name: "single", Target: "dns:///hello." + r.ns + ".svc.cluster.local.:50051", LB: "pick_first", Channels: 12,
	})
	time.Sleep(20 * time.Second) // longer than a pod that is new takes to settle; under test
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
	for _, p := range others {
		s, err := r.c.TryStatus(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if mayMove -= s.Sent("even"); mayMove < 0 || s.Sent() > s.Sent("even") {
			t.Errorf("%s sent needless GOAWAYs: %v", p.Name, s.GoAways)
		}
	}
	noFailures(t, multi)
	noFailures(t, single)
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
