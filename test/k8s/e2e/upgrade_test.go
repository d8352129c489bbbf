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
	most := map[string]int{}
	count := func(ctx context.Context) {
		for _, s := range r.status(ctx, t) {
			most[s.Pod] = max(most[s.Pod], s.Sent("reach", "even"))
		}
	}
	for range flaps {
		for _, n := range []int{5, 2} {
			c.Kubectl(t, "-n", r.ns, "scale", "deploy/hello", fmt.Sprintf("--replicas=%d", n))
			c.WaitEndpoints(t, r.ns, "hello-headless", n)
			// The pods have enough time to react, but not enough to become even.
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
			for ctx.Err() == nil {
				count(ctx)
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
			cancel()
		}
	}
	total := 0
	for _, n := range most {
		total += n
	}
	t.Logf("pods sent %d GOAWAYs to rebalance %d channels in %d scale-ups", total, channels, flaps)
	if total > flaps*channels*13/10 {
		t.Errorf("got %d GOAWAYs, want at most %d: %v", total, flaps*channels*13/10, most)
	}
	noFailures(t, load)
}
