//go:build linux && e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// A rollout that replaces every pod under load must fail no RPC and end with an even load. That
// holds even if it is over before the clients' resolvers may ask again.
//
// grpc-go rests for 30 s after a lookup. All three pods are replaced within 5 s here, and the
// last old one serves clients that know no other pod for nine tenths of shutdown.timeout. So
// 35 s are enough whenever the clients looked, and 20 s, the default, if they did so a while
// ago. With the default and a lookup a moment before, 21 to 56 of 1,750 RPCs failed.
func TestUpgradeRollsEveryPod(t *testing.T) {
	t.Run("35 s, clients have just resolved", func(t *testing.T) {
		rollEveryPod(t, 0, "evenkeel.shutdown.timeout=35s")
	})
	t.Run("default, clients resolved a while ago", func(t *testing.T) {
		rollEveryPod(t, 20*time.Second)
	})
}

// rollEveryPod replaces all pods a while after the clients have begun to call.
func rollEveryPod(t *testing.T, after time.Duration, settings ...string) {
	t.Helper()
	c := cluster.Shared(t, cluster.Options{})
	const replicas = 3
	r := install(t, c, replicas, settings...)
	load := r.load(t)
	before := names(r.pods(t))
	time.Sleep(after) // this time is under test; it synchronizes nothing
	r.helm(t, "upgrade", "podAnnotations.rolled=again", "strategy.rollingUpdate.maxSurge=1",
		"strategy.rollingUpdate.maxUnavailable=0")
	c.WaitRollout(t, r.ns, "hello")
	for name := range names(r.pods(t)) {
		if before[name] {
			t.Fatalf("%s was not replaced", name)
		}
	}
	c.Eventually(t, "the load is even within 1.2", 2*time.Minute, func(context.Context) (bool, error) {
		reports := load.Reports(t)
		uneven, old := cluster.Uneven(reports, 5, replicas), 0
		for _, r := range reports[max(0, len(reports)-5):] {
			for pod, n := range r.Calls {
				if before[pod] {
					old += n
				}
			}
		}
		return uneven <= 1.2 && old == 0, fmt.Errorf("max/mean is %.2f, %d calls went to replaced pods", uneven, old)
	})
	noFailures(t, load)
}

// Changed settings must reach the pods through their ConfigMap, without a restart.
func TestUpgradeOfSettingsRestartsNothing(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	r := install(t, c, 2)
	before := r.pods(t)
	sentBefore := sent(t, c, before)
	r.helm(t, "upgrade", "evenkeel.rebalance.settle=7s")
	c.Eventually(t, "every pod has the new settings", 2*time.Minute, func(ctx context.Context) (bool, error) {
		for _, s := range r.status(ctx, t) {
			if !configured(&s) {
				return false, fmt.Errorf("the decisions of %s are %v", s.Pod, s.Decisions)
			}
		}
		return true, nil
	})
	after := r.pods(t)
	for i := range after {
		if !names(before)[after[i].Name] || after[i].Restarts != 0 {
			t.Errorf("pods restarted: %v before, %v now", before, after)
		}
	}
	noneSent(t, c, after, sentBefore)
}

// An upgrade that leaves the number of pods to others must keep the current number.
func TestReplicasLeftToOthers(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	r := install(t, c, 3)
	for _, settings := range [][]string{{"replicaCount=null"}, {"replicaCount=null", "autoscaling.enabled=true"}} {
		r.helm(t, "upgrade", settings...)
		if n := c.Kubectl(t, "-n", r.ns, "get", "deploy", "hello", "-o", "jsonpath={.spec.replicas}"); n != "3" {
			t.Fatalf("%v: got %s pods, want 3", settings, n)
		}
	}
}

// configured reports whether the pod has applied new settings.
func configured(s *cluster.Status) bool {
	for _, d := range s.Decisions {
		if strings.Contains(d.Action, "configur") {
			return true
		}
	}
	return false
}

func names(pods []cluster.Pod) map[string]bool {
	all := map[string]bool{}
	for _, p := range pods {
		all[p.Name] = true
	}
	return all
}

// If an autoscaler flaps, every scale-up may cost each channel about one GOAWAY and must fail
// no RPC.
func TestFlappingReplicas(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	r := install(t, c, 2)
	load := r.load(t)
	const flaps, channels = 3, 5
	most := moves{}
	for range flaps {
		for _, n := range []int{5, 2} {
			c.Kubectl(t, "-n", r.ns, "scale", "deploy/hello", fmt.Sprintf("--replicas=%d", n))
			c.WaitEndpoints(t, r.ns, "hello-headless", n)
			// The pods have enough time to react, but not enough to become even.
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
			for ctx.Err() == nil {
				most.read(ctx, t, r)
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
			cancel()
		}
	}
	total := most.sum()
	t.Logf("pods sent %d GOAWAYs to rebalance %d channels in %d scale-ups", total, channels, flaps)
	if total > flaps*channels*13/10 {
		t.Errorf("got %d GOAWAYs, want at most %d: %v", total, flaps*channels*13/10, most)
	}
	noFailures(t, load)
}

// moves are the GOAWAYs of rebalancing that each pod has sent, by its last status.
type moves map[string]int

func (m moves) read(ctx context.Context, t *testing.T, r *release) {
	t.Helper()
	for _, s := range r.status(ctx, t) {
		m[s.Pod] = max(m[s.Pod], s.Sent("reach", "even"))
	}
}

func (m moves) sum() (n int) {
	for _, of := range m {
		n += of
	}
	return n
}

// A rolling update must cost a channel at most one GOAWAY of rebalancing. The clients here find
// the new pods when the old ones stop.
func TestRollingUpdateMovesFew(t *testing.T) {
	t.Parallel()
	c := cluster.Shared(t, cluster.Options{})
	const replicas, channels = 4, 5
	r := install(t, c, replicas)
	load := r.load(t)
	time.Sleep(30 * time.Second) // so that the resolvers may ask; under test
	sent := moves{}
	r.helm(t, "upgrade", "podAnnotations.rolled=again", "strategy.rollingUpdate.maxSurge=1", "strategy.rollingUpdate.maxUnavailable=0")
	c.Eventually(t, "the rolling update is over", 2*time.Minute, func(ctx context.Context) (bool, error) {
		sent.read(ctx, t, r)
		out, err := c.TryKubectl(ctx, "-n", r.ns, "rollout", "status", "deploy/hello", "--watch=false")
		return strings.Contains(out, "successfully rolled out"), err
	})
	over := time.Now()
	c.Eventually(t, "all pods are balanced long after", 3*time.Minute, func(ctx context.Context) (bool, error) {
		sent.read(ctx, t, r)
		for _, s := range r.status(ctx, t) {
			if s.Verdict != "balanced" {
				return false, fmt.Errorf("%s reports: %s", s.Pod, s.Text())
			}
		}
		return time.Since(over) > rolledAfter, nil
	})
	t.Logf("%d GOAWAYs of rebalancing for %d channels, max/mean is %.2f", sent.sum(), channels, cluster.Uneven(load.Reports(t), 5, replicas))
	if sent.sum() > channels {
		t.Errorf("pods sent %v GOAWAYs to rebalance, want at most one for each of %d channels", sent, channels)
	}
	noFailures(t, load)
}

// rolledAfter is when a rolling update is over for the pods: the last old one has stopped and its
// clients have resolved again.
const rolledAfter = 65 * time.Second
