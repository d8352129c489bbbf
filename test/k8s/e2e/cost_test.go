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

var costs = flag.Bool("e2e.cost", false, "measure the cost of an idle pod, which takes 5 minutes")

const (
	// costWarm is the time before the measurement. It is longer than the runtime's forced GC
	// interval of 2 min.
	costWarm = 150 * time.Second
	// costRest is the time over which CPU is measured.
	costRest = 2 * time.Minute
	// costPods is the number of pods of each kind. Their median is reported.
	costPods = 3
	// fleetSize is the number of endpoints of the Service.
	fleetSize = 200
)

// cost is the cost of one pod, from its own metrics.
type cost struct{ rss, heap, cpu, goroutines float64 }

// TestCostAtRest measures idle pods with different sources of peers: none, a static list of
// 200, and a watched Service of 200 endpoints. Peers that are not real pods refuse the
// connection.
//
//	cd test/k8s/e2e && GOWORK=off go test -tags e2e -run TestCostAtRest -timeout 20m -v . -args -e2e.cost
func TestCostAtRest(t *testing.T) {
	if !*costs {
		t.Skip("this is a measurement of 5 minutes, run it with -e2e.cost")
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
			waitAllKnown(t, c, pods[k.name])
		}
	}
	time.Sleep(costWarm) // the pods must be at rest
	before := map[string][]cost{}
	for name, all := range pods {
		before[name] = costsOf(t, c, all)
	}
	time.Sleep(costRest)
	for _, k := range kinds {
		now := costsOf(t, c, pods[k.name])
		for i := range now {
			now[i].cpu -= before[k.name][i].cpu
		}
		t.Logf("%-10s medians of %d: RSS %.1f MB, heap in use %.1f MB, CPU %.0f ms a minute, goroutines %.0f", k.name, len(now),
			median(now, func(c cost) float64 { return c.rss })/1e6, median(now, func(c cost) float64 { return c.heap })/1e6,
			median(now, func(c cost) float64 { return c.cpu })*1e3/costRest.Minutes(), median(now, func(c cost) float64 { return c.goroutines }))
	}
}

// waitAllKnown waits until each of the pods knows all of the Service's endpoints.
func waitAllKnown(t *testing.T, c *cluster.Cluster, pods []cluster.Pod) {
	t.Helper()
	c.Eventually(t, "all endpoints are known", time.Minute, func(ctx context.Context) (bool, error) {
		for _, p := range pods {
			if s, err := c.TryStatus(ctx, p); err != nil || len(s.Peers) < fleetSize-1 {
				return false, cmp.Or(err, fmt.Errorf("%s knows %d endpoints", p.Name, len(s.Peers)))
			}
		}
		return true, nil
	})
}

// refusing returns n addresses inside the cluster that refuse every connection.
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

// fleetService returns the manifest of a Service with real pods and other addresses, in
// several EndpointSlices.
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
		n := min(100, len(endpoints)) // as many as Kubernetes' controller puts into one slice
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: fleet-%d\n"+
			"  labels: {kubernetes.io/service-name: fleet}\naddressType: IPv4\nports: []\nendpoints:\n%s\n", i, strings.Join(endpoints[:n], "\n"))
		endpoints = endpoints[n:]
	}
	return b.String()
}

// costsOf returns the current cost of each pod.
func costsOf(t *testing.T, c *cluster.Cluster, pods []cluster.Pod) (out []cost) {
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
			t.Errorf("%s exports no metrics of its process", p.Name)
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
