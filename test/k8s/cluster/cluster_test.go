//go:build linux && e2e

package cluster_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// traces is what a cluster leaves visible on this machine.
type traces struct{ cgroups, links, mounts, namespaces, processes []string }

func look(t *testing.T) traces {
	t.Helper()
	var tr traces
	for _, pattern := range []string{"/sys/fs/cgroup/evenkeel-*", "/sys/fs/cgroup/*/evenkeel-*"} {
		found, _ := filepath.Glob(pattern)
		tr.cgroups = append(tr.cgroups, ofThisProcess(found)...)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		tr.links = append(tr.links, l.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		tr.mounts = append(tr.mounts, strings.Fields(line)[4])
	}
	tr.processes, tr.namespaces = processes()
	return tr
}

// ofThisProcess removes the cgroups of other test processes' clusters.
func ofThisProcess(groups []string) []string {
	mine := fmt.Sprintf("evenkeel-%d-", os.Getpid())
	return slices.DeleteFunc(groups, func(g string) bool { return !strings.HasPrefix(filepath.Base(g), mine) })
}

// processes returns the names of all processes in the cgroups of this process' clusters, and
// their network namespaces.
func processes() (pids, namespaces []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		group, err := os.ReadFile(dir + "/cgroup")
		if err != nil || !strings.Contains(string(group), fmt.Sprintf("/evenkeel-%d-", os.Getpid())) {
			continue
		}
		name, _ := os.ReadFile(dir + "/comm")
		pids = append(pids, strings.TrimSpace(string(name)))
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil {
			namespaces = append(namespaces, ns)
		}
	}
	slices.Sort(namespaces)
	return pids, slices.Compact(namespaces)
}

func sysctls(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{
		"kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/ipv4/ip_forward",
	} {
		value, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s=%s", name, value)
	}
	return all.String()
}

const hello = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: server
          image: ` + cluster.ServerTag + `
          imagePullPolicy: Never
          args: [-grpc, ":50051", -http, ":8080"]
          readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {clusterIP: None, selector: {app: hello}, ports: [{name: grpc, port: 50051}]}
`

// TestCycle brings a cluster up, uses its pods and DNS, and takes it down. Nothing of it may
// remain on this machine.
func TestCycle(t *testing.T) {
	if err := cluster.Build(cluster.Full, nil); err != nil {
		t.Fatal(err)
	}
	before, sysctlsBefore := look(t), sysctls(t)
	t.Run("up", func(t *testing.T) {
		begun := time.Now()
		c := cluster.Up(t, cluster.Options{})
		t.Logf("up after %.1f s", time.Since(begun).Seconds())
		scaleUp(t, c)
		if during := look(t); len(during.cgroups) == 0 || len(during.processes) == 0 {
			t.Errorf("the test does not see the running cluster, so it would not see leftovers: %+v", during)
		}
	})
	after := look(t)
	for _, what := range []struct {
		name          string
		before, after []string
	}{
		{"cgroups", before.cgroups, after.cgroups},
		{"network devices", before.links, after.links},
		{"mounts", before.mounts, after.mounts},
		{"processes", before.processes, after.processes},
		{"network namespaces", before.namespaces, after.namespaces},
	} {
		if !slices.Equal(what.before, what.after) {
			t.Errorf("%s: %v before, %v after", what.name, what.before, what.after)
		}
	}
	if got := sysctls(t); got != sysctlsBefore {
		t.Errorf("sysctls before:\n%safter:\n%s", sysctlsBefore, got)
	}
}

func scaleUp(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ns := c.Namespace(t)
	begun := time.Now()
	c.Apply(t, ns, hello)
	c.WaitRollout(t, ns, "hello")
	t.Logf("2 pods ready after %.1f s", time.Since(begun).Seconds())
	for _, n := range []int{2, 5, 2, 5} {
		begun = time.Now()
		c.Kubectl(t, "-n", ns, "scale", "deploy/hello", fmt.Sprintf("--replicas=%d", n))
		c.WaitEndpoints(t, ns, "hello", n)
		c.Eventually(t, fmt.Sprintf("DNS answers with %d", n), time.Minute, func(ctx context.Context) (bool, error) {
			addresses, err := c.Lookup(ctx, "hello."+ns+".svc.cluster.local.")
			return len(addresses) == n, err
		})
		t.Logf("scaled to %d in %.1f s", n, time.Since(begun).Seconds())
	}
	pod := c.Pods(t, ns, "app=hello")[0]
	if status := c.Get(t, "http://"+net.JoinHostPort(pod.IP, "8080")+"/statusz"); !strings.Contains(string(status), "verdict") {
		t.Errorf("/statusz has no verdict: %s", status)
	}
}

// TestAPIOnly kills etcd and the API server. After they start again, the API server must
// still have its objects.
func TestAPIOnly(t *testing.T) {
	begun := time.Now()
	c := cluster.Up(t, cluster.Options{Level: cluster.APIOnly})
	t.Logf("up after %.1f s", time.Since(begun).Seconds())
	ns := c.Namespace(t)
	for _, part := range []string{"kube-apiserver", "etcd"} {
		if err := c.Kill(part); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"etcd", "kube-apiserver"} {
		if err := c.Start(part); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.WaitAPI(ctx); err != nil {
		t.Fatal(err)
	}
	if got := c.Kubectl(t, "get", "namespace", ns, "-o", "name"); strings.TrimSpace(got) != "namespace/"+ns {
		t.Errorf("after the restart: got %q, want the namespace %s", got, ns)
	}
}
