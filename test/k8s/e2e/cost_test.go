//go:build linux && e2e

package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

var costs = flag.Bool("e2e.cost", false, "measure what a pod takes at rest: 5 minutes")

const (
	// costWarm is longer than the runtime's 2 min from GC to GC.
	costWarm = 150 * time.Second
	// costRest is what CPU is counted over.
	costRest = 2 * time.Minute
	// costPods of each kind, of which the median counts.
	costPods = 3
	// fleetSize is how many endpoints the Service has.
	fleetSize = 200
)

// cost of one pod, by its own metrics.
type cost struct{ rss, heap, cpu, goroutines float64 }

// TestCostAtRest measures pods that nobody calls, by the source of their peers: none, a static
// list of 200, and a Service of 200 endpoints that is watched. Peers that are no real pods
// refuse the connection.
//
//	cd test/k8s/e2e && GOWORK=off go test -tags e2e -run TestCostAtRest -timeout 20m -v . -args -e2e.cost
func TestCostAtRest(t *testing.T) {
	if !*costs {
		t.Skip("measures only when asked to, by -e2e.cost")
	}
	c := cluster.Shared(t, cluster.Options{})
	others := refusing(t, c, fleetSize)
	kinds := []struct {
		name     string
		settings []string
	}{
		{"none", []string{"evenkeel.peers.source=none"}},
		{"static", []string{"evenkeel.peers.source=static", "evenkeel.peers.static={" + strings.Join(others, ",") + "}"}},
		{"kubernetes", []string{"evenkeel.peers.kubernetes.service=fleet"}},
	}
	pods := map[string][]cluster.Pod{}
	for _, k := range kinds {
		r := install(t, c, costPods, k.settings...)
		pods[k.name] = r.pods(t)
		if k.name == "kubernetes" {
			c.Apply(t, r.ns, fleetService(pods[k.name], others[:fleetSize-costPods]))
			knowAll(t, c, pods[k.name])
		}
	}
	time.Sleep(costWarm) // rest is what is measured
	before := map[string][]cost{}
	for name, all := range pods {
		before[name] = look(t, c, all)
	}
	time.Sleep(costRest)
	for _, k := range kinds {
		now := look(t, c, pods[k.name])
		for i := range now {
			now[i].cpu -= before[k.name][i].cpu
		}
		t.Logf("%-10s medians of %d: RSS %.1f MB, heap in use %.1f MB, CPU %.0f ms a minute, goroutines %.0f", k.name, len(now),
			median(now, func(c cost) float64 { return c.rss })/1e6, median(now, func(c cost) float64 { return c.heap })/1e6,
			median(now, func(c cost) float64 { return c.cpu })*1e3/costRest.Minutes(), median(now, func(c cost) float64 { return c.goroutines }))
	}
}

// knowAll waits until each of the pods has all of the Service's endpoints.
func knowAll(t *testing.T, c *cluster.Cluster, pods []cluster.Pod) {
	t.Helper()
	c.Eventually(t, "all endpoints are known", time.Minute, func(ctx context.Context) (bool, error) {
		for _, p := range pods {
			if s, err := c.TryStatus(ctx, p); err != nil || len(s.Peers) < fleetSize-1 {
				return false, cmp.Or(err, fmt.Errorf("%s knows %d", p.Name, len(s.Peers)))
			}
		}
		return true, nil
	})
}

// refusing are addresses inside the cluster that refuse every connection.
func refusing(t *testing.T, c *cluster.Cluster, n int) (addrs []string) {
	t.Helper()
	const net = "198.18.2."
	if out, err := c.Command(t.Context(), "ip", "route", "add", "local", net+"0/24", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		_ = c.Command(context.Background(), "ip", "route", "del", "local", net+"0/24", "dev", "lo").Run()
	})
	for i := range n {
		addrs = append(addrs, net+strconv.Itoa(i+1))
	}
	return addrs
}

// fleetService is a Service of real pods and other addresses, in two EndpointSlices.
func fleetService(pods []cluster.Pod, others []string) string {
	var endpoints []string
	for _, p := range pods {
		endpoints = append(endpoints, fmt.Sprintf("- {addresses: [%s], conditions: {ready: true}, targetRef: {kind: Pod, name: %s, uid: %s}}", p.IP, p.Name, p.Name))
	}
	for i, addr := range others {
		endpoints = append(endpoints, fmt.Sprintf("- {addresses: [%s], conditions: {ready: true}, targetRef: {kind: Pod, name: other-%d, uid: other-%d}}", addr, i, i))
	}
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Service\nmetadata: {name: fleet}\nspec: {clusterIP: None, ports: [{port: 50051}]}\n")
	for i := 0; len(endpoints) > 0; i++ {
		n := min(100, len(endpoints)) // as many as the controller puts into one
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: fleet-%d\n"+
			"  labels: {kubernetes.io/service-name: fleet}\naddressType: IPv4\nports: []\nendpoints:\n%s\n", i, strings.Join(endpoints[:n], "\n"))
		endpoints = endpoints[n:]
	}
	return b.String()
}

// look at what each pod takes.
func look(t *testing.T, c *cluster.Cluster, pods []cluster.Pod) (out []cost) {
	t.Helper()
	for _, p := range pods {
		m := map[string]float64{}
		lines := bufio.NewScanner(bytes.NewReader(c.Get(t, "http://"+p.IP+":"+cluster.HealthPort+"/metrics")))
		for lines.Scan() {
			if f := strings.Fields(lines.Text()); len(f) == 2 {
				m[f[0]], _ = strconv.ParseFloat(f[1], 64)
			}
		}
		out = append(out, cost{
			m["process_resident_memory_bytes"], m["go_memstats_heap_inuse_bytes"], m["process_cpu_seconds_total"], m["go_goroutines"],
		})
		if slices.Contains([]float64{out[len(out)-1].rss, out[len(out)-1].cpu}, 0) {
			t.Errorf("%s has no metrics of its process", p.Name)
		}
	}
	return out
}

func median(all []cost, of func(cost) float64) float64 {
	var v []float64
	for _, c := range all {
		v = append(v, of(c))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
