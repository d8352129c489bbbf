//go:build e2e && linux

package chart_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// sidecarChannels is the number of round_robin channels of the client, each of which gets one
// GOAWAY when pods are added.
const sidecarChannels = 10

// Servers that know nothing of evenkeel stand behind the sidecar, as example/sidecar has it. The
// article's experiment comes out as with the library, and stopping pods cut off no RPC.
func TestServersBehindTheSidecar(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	ns := c.Namespace(t)
	c.Helm(t, "install", "a", greeter(t, c), "-n", ns, "--set", "replicas=2", "--set", "image="+cluster.ServerTag,
		"--set", "args={-bare,-grpc=127.0.0.1:50052,-http=127.0.0.1:8081}",
		"--set", "evenkeel.sidecar.image.repository="+cluster.SidecarRepository, "--set", "evenkeel.sidecar.image.tag="+cluster.ImageTag,
		"--set", "evenkeel.sidecar.image.pullPolicy=Never")
	c.WaitRollout(t, ns, "a-greeter")
	load := c.Load(t, ns, cluster.Load{
		Name: "load", Target: "dns:///a-greeter-headless." + ns + ".svc.cluster.local.:50051", Channels: sidecarChannels,
	})
	time.Sleep(30 * time.Second) // so that the resolvers may ask; under test
	scale(t, c, ns, 5)
	even(t, c, load, 5)
	if n := goAways(t, c, ns); n != sidecarChannels {
		t.Errorf("the sidecars sent %d GOAWAYs, want one for each of %d channels", n, sidecarChannels)
	}
	scale(t, c, ns, 2)
	c.Eventually(t, "the pods that were removed are gone", 2*time.Minute, func(context.Context) (bool, error) {
		n := len(c.Pods(t, ns, "app.kubernetes.io/instance=a"))
		return n == 2, fmt.Errorf("there are %d pods", n)
	})
	even(t, c, load, 2)
	calls, failed := 0, 0
	for _, r := range load.Reports(t) {
		for _, n := range r.Calls {
			calls += n
		}
		failed += r.Failures
	}
	if t.Logf("%d of %d RPCs failed", failed, calls); failed > 0 {
		t.Errorf("%d RPCs failed", failed)
	}
}

// greeter returns a copy of the chart example/sidecar with its dependency.
func greeter(t *testing.T, c *cluster.Cluster) (dir string) {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{cluster.Chart(): "chart", filepath.Join(cluster.Chart(), "..", "example", "sidecar"): "example/sidecar"} {
		if err := os.CopyFS(filepath.Join(root, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	dir = filepath.Join(root, "example", "sidecar")
	c.Helm(t, "dependency", "update", dir)
	return dir
}

func scale(t *testing.T, c *cluster.Cluster, ns string, pods int) {
	t.Helper()
	c.Kubectl(t, "-n", ns, "scale", "deploy/a-greeter", fmt.Sprintf("--replicas=%d", pods))
	c.WaitEndpoints(t, ns, "a-greeter-headless", pods)
}

// even waits until all pods answer about as many calls.
func even(t *testing.T, c *cluster.Cluster, load *cluster.Loader, pods int) {
	t.Helper()
	begun := time.Now()
	c.Eventually(t, fmt.Sprintf("the calls are even over %d pods", pods), time.Minute, func(context.Context) (bool, error) {
		uneven := cluster.Uneven(load.Reports(t), 3, pods)
		return uneven <= 1.1, fmt.Errorf("the busiest pod has %.2f times the mean", uneven)
	})
	t.Logf("even %.1f s after the last endpoint was ready, of which 3 s are for being sure", time.Since(begun).Seconds())
}

func goAways(t *testing.T, c *cluster.Cluster, ns string) (n int) {
	t.Helper()
	for _, p := range c.Pods(t, ns, "app.kubernetes.io/instance=a") {
		s, err := c.TryStatus(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		n += s.Sent()
	}
	return n
}
