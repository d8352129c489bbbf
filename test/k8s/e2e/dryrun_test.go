//go:build linux && e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// settingsWithin bounds how long a ConfigMap takes to reach the pods. The kubelet's caches alone
// may take two minutes.
const settingsWithin = 3 * time.Minute

// In a dry run 2 pods become 5, no client gets a GOAWAY, and the pods show what they would drain.
// The end of the dry run carries it out. Then the kill switch is thrown. Each of the changes goes
// through the ConfigMap, without a restart.
func TestDryRunThenSwitches(t *testing.T) {
	t.Parallel()
	c := cluster.Shared(t, cluster.Options{})
	const channels = 5
	r := install(t, c, 2, "evenkeel.rebalance.dryRun=true")
	load := r.load(t)
	time.Sleep(30 * time.Second) // so that the resolvers may ask; under test
	r.c.Kubectl(t, "-n", r.ns, "scale", "deploy/hello", "--replicas=5")
	r.c.WaitEndpoints(t, r.ns, "hello-headless", 5)
	c.Eventually(t, "the pods plan to drain each channel", time.Minute, func(ctx context.Context) (bool, error) {
		n := r.planned(ctx, t)
		return n == channels, fmt.Errorf("%d drains are planned", n)
	})
	time.Sleep(20 * time.Second) // what must not happen has its time
	if n := r.goAways(t); n != 0 {
		t.Errorf("got %d GOAWAYs in a dry run", n)
	}

	pods := names(r.pods(t))
	r.helm(t, "upgrade", "replicaCount=5", "evenkeel.rebalance.dryRun=false")
	c.Eventually(t, "the calls are even", settingsWithin, func(context.Context) (bool, error) {
		uneven := cluster.Uneven(load.Reports(t), 3, 5)
		return uneven <= 1.1, fmt.Errorf("the busiest pod has %.2f times the mean", uneven)
	})
	if n := r.goAways(t); n != channels {
		t.Errorf("got %d GOAWAYs after the dry run, want one for each of %d channels", n, channels)
	}

	r.helm(t, "upgrade", "evenkeel.rebalance.enabled=false")
	c.Eventually(t, "every pod is off", settingsWithin, func(ctx context.Context) (bool, error) {
		for _, s := range r.status(ctx, t) {
			if s.Enabled {
				return false, fmt.Errorf("%s reports: %s", s.Pod, s.Text())
			}
		}
		return true, nil
	})
	for _, p := range r.pods(t) {
		if !pods[p.Name] || p.Restarts != 0 {
			t.Errorf("%s was restarted or replaced: the pods were %v", p.Name, pods)
		}
	}
	noFailures(t, load)
}

// planned adds up what the pods plan to drain.
func (r *release) planned(ctx context.Context, t *testing.T) (n int) {
	t.Helper()
	for _, s := range r.status(ctx, t) {
		for _, count := range s.Planned {
			n += int(count)
		}
	}
	return n
}

func (r *release) goAways(t *testing.T) (n int) {
	t.Helper()
	for _, count := range sent(t, r.c, r.pods(t)) {
		n += count
	}
	return n
}
