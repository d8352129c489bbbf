//go:build linux && e2e

// Package e2e tests the chart and the example server on a real Kubernetes.
package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// release is the chart, installed under the name hello in a namespace of its own.
type release struct {
	c  *cluster.Cluster
	ns string
}

const selector = "app.kubernetes.io/instance=hello"

// install installs the chart and waits for its pods. Settings have the form key=value.
func install(t *testing.T, c *cluster.Cluster, replicas int, settings ...string) *release {
	t.Helper()
	r := &release{c: c, ns: c.Namespace(t)}
	r.helm(t, "install", append([]string{fmt.Sprintf("replicaCount=%d", replicas)}, settings...)...)
	r.c.WaitRollout(t, r.ns, "hello")
	return r
}

func (r *release) helm(t *testing.T, verb string, settings ...string) {
	t.Helper()
	args := []string{verb, "hello", cluster.Chart(), "-n", r.ns}
	if verb == "upgrade" {
		args = append(args, "--reuse-values")
	}
	for _, s := range append([]string{
		"image.repository=" + cluster.ServerRepository, "image.tag=" + cluster.ImageTag, "image.pullPolicy=Never",
		"resources.requests.cpu=10m",
	}, settings...) {
		args = append(args, "--set", s)
	}
	r.c.Helm(t, args...)
}

func (r *release) pods(t *testing.T) []cluster.Pod {
	t.Helper()
	return r.c.Pods(t, r.ns, selector)
}

// load starts a client of the headless Service with round_robin.
func (r *release) load(t *testing.T) *cluster.Loader {
	t.Helper()
	return r.c.Load(t, r.ns, cluster.Load{Name: "load", Target: "dns:///hello-headless." + r.ns + ".svc.cluster.local.:50051"})
}

// status returns the status of each pod that answers.
func (r *release) status(ctx context.Context, t *testing.T) []cluster.Status {
	t.Helper()
	var all []cluster.Status
	for _, p := range r.pods(t) {
		if s, err := r.c.TryStatus(ctx, p); err == nil {
			all = append(all, s)
		}
	}
	return all
}

// waitText waits until the verdict and the conditions of every pod contain all words.
func waitText(t *testing.T, c *cluster.Cluster, pods []cluster.Pod, words ...string) {
	t.Helper()
	what := fmt.Sprintf("%d pods report %q", len(pods), words)
	c.Eventually(t, what, 90*time.Second, func(ctx context.Context) (bool, error) {
		for _, p := range pods {
			s, err := c.TryStatus(ctx, p)
			if err != nil {
				return false, err
			}
			for _, word := range words {
				if !strings.Contains(s.Text(), word) {
					return false, fmt.Errorf("%s reports: %s", p.Name, s.Text())
				}
			}
		}
		return true, nil
	})
}

// waitHealthy waits until every pod has a view of its peers and shows no condition.
func waitHealthy(t *testing.T, c *cluster.Cluster, pods []cluster.Pod) {
	t.Helper()
	c.Eventually(t, fmt.Sprintf("%d pods are healthy", len(pods)), 90*time.Second, func(ctx context.Context) (bool, error) {
		for _, p := range pods {
			s, err := c.TryStatus(ctx, p)
			if err != nil {
				return false, err
			}
			if s.Verdict == "stale" || len(s.Conditions) > 0 {
				return false, fmt.Errorf("%s reports: %s", p.Name, s.Text())
			}
		}
		return true, nil
	})
}

// sent returns the number of GOAWAYs that each pod has sent.
func sent(t *testing.T, c *cluster.Cluster, pods []cluster.Pod) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	counts := map[string]int{}
	for _, p := range pods {
		s, err := c.TryStatus(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		counts[p.Name] = s.Sent()
	}
	return counts
}

// noneSent fails if a pod has sent a GOAWAY since before.
func noneSent(t *testing.T, c *cluster.Cluster, pods []cluster.Pod, before map[string]int) {
	t.Helper()
	if now := sent(t, c, pods); !maps.Equal(now, before) {
		t.Errorf("pods sent needless GOAWAYs: %v before, %v now", before, now)
	}
}

// noFailures fails t if an RPC of the client has failed.
func noFailures(t *testing.T, l *cluster.Loader) {
	t.Helper()
	reports := l.Reports(t)
	calls := 0
	for i := range reports {
		for _, n := range reports[i].Calls {
			calls += n
		}
	}
	n, texts := cluster.Failures(reports)
	t.Logf("%d of %d RPCs failed", n, calls+n)
	if n > 0 {
		t.Errorf("failed RPCs: %v", texts)
	}
}
