//go:build linux && e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// With trafficDistribution, Kubernetes writes hints, and the pods learn their zone. The cluster
// has one node and therefore one zone.
func TestPreferSameZone(t *testing.T) {
	t.Parallel()
	c := cluster.Shared(t, cluster.Options{})
	labelNode(t, c, "a")
	r := install(t, c, 2, "service.trafficDistribution=PreferSameZone")
	hints := func(service string) string {
		return c.Kubectl(t, "-n", r.ns, "get", "endpointslices", "-l", "kubernetes.io/service-name="+service,
			"-o", "jsonpath={.items[*].endpoints[*].hints.forZones[*].name}")
	}
	t.Logf("hints of the Service: %q, of the headless one: %q", hints("hello"), hints("hello-headless"))
	if got := hints("hello-headless"); got != "a a" {
		t.Errorf("the EndpointSlices that the pods watch have the hints %q, want a zone for each of 2 pods", got)
	}
	for _, p := range r.pods(t) {
		if s := string(c.Get(t, "http://"+p.IP+":8080/statusz")); !strings.Contains(s, `"zone":"a"`) && !strings.Contains(s, `"zone": "a"`) {
			t.Errorf("%s does not know its zone: %s", p.Name, s)
		}
	}
}

// splitSlice is a Service without selector, and its EndpointSlice: pods in two zones. The cluster
// cannot have them, since it has one node.
const splitSlice = `
apiVersion: v1
kind: Service
metadata: {name: split}
spec: {ports: [{name: grpc, port: 50051, targetPort: 50051}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: split-1, labels: {kubernetes.io/service-name: split, endpointslice.kubernetes.io/managed-by: e2e}}
addressType: IPv4
ports: [{name: grpc, port: 50051, protocol: TCP}]
endpoints:
`

const splitEndpoint = `- {addresses: [%s], conditions: {ready: true, serving: true}, targetRef: {kind: Pod, name: %s, namespace: %s}, nodeName: node1, zone: %s, hints: {forZones: [{name: %[4]s}]}}
`

// Where hints tie clients to zones, no connection is moved for the sake of another zone. kube-proxy
// follows the hints of a slice that the test writes: all clients are in zone a, and so reach
// only its pods. The pods of zone b are idle, and none can help.
func TestHintsOfTwoZones(t *testing.T) {
	t.Parallel()
	c := cluster.Shared(t, cluster.Options{})
	labelNode(t, c, "a")
	r := install(t, c, 5, "evenkeel.peers.kubernetes.service=split")
	pods := r.pods(t)
	r.split(t, pods[:2], pods[3:])
	var loads []*cluster.Loader // each with an address of its own: a client with one on each pod would count as multi-homed
	for i := range 12 {
		loads = append(loads, c.Load(t, r.ns, cluster.Load{
			Name: fmt.Sprintf("load%d", i), Target: "dns:///split." + r.ns + ".svc.cluster.local.:50051", LB: "pick_first", Channels: 2, Rate: 4,
		}))
	}
	c.Eventually(t, "zone a is named", time.Minute, func(ctx context.Context) (bool, error) {
		s, err := c.TryStatus(ctx, pods[0])
		if err != nil {
			return false, err
		}
		return strings.Contains(s.Text(), "too few pods"), fmt.Errorf("%s reports: %s", s.Pod, s.Text())
	})
	for name := range callsPerPod(t, loads) {
		if name == pods[3].Name || name == pods[4].Name {
			t.Errorf("%s of zone b has calls: kube-proxy does not follow the hints", name)
		}
	}
	before := sent(t, c, pods[:2])
	time.Sleep(20 * time.Second) // what must not happen has its time
	noneSent(t, c, pods[:2], before)
	noneSent(t, c, pods[3:], map[string]int{pods[3].Name: 0, pods[4].Name: 0})
	r.split(t, pods[:3], pods[3:])
	c.Eventually(t, "zone a is even with its third pod", 2*time.Minute, func(ctx context.Context) (bool, error) {
		calls := callsPerPod(t, loads)
		s, err := c.TryStatus(ctx, pods[2])
		if err != nil {
			return false, err
		}
		n := calls[pods[2].Name]
		all := n + calls[pods[0].Name] + calls[pods[1].Name]
		return 10*n >= 7*all/3 && !slices.Contains([]string{"moving", "checking", "waiting"}, s.Verdict), fmt.Errorf("%v; the new pod: %s", calls, s.Text())
	})
	t.Logf("GOAWAYs: %v", sent(t, c, pods))
	noneSent(t, c, pods[3:], map[string]int{pods[3].Name: 0, pods[4].Name: 0})
	for _, l := range loads {
		noFailures(t, l)
	}
}

func labelNode(t *testing.T, c *cluster.Cluster, zone string) {
	t.Helper()
	c.Kubectl(t, "label", "node", "node1", "--overwrite", "topology.kubernetes.io/zone="+zone)
}

// split writes the Service with pods in zones a and b.
func (r *release) split(t *testing.T, a, b []cluster.Pod) {
	t.Helper()
	manifest := splitSlice
	for _, p := range a {
		manifest += fmt.Sprintf(splitEndpoint, p.IP, p.Name, r.ns, "a")
	}
	for _, p := range b {
		manifest += fmt.Sprintf(splitEndpoint, p.IP, p.Name, r.ns, "b")
	}
	r.c.Apply(t, r.ns, manifest)
}

// callsPerPod returns the calls of the last 5 full seconds.
func callsPerPod(t *testing.T, loads []*cluster.Loader) map[string]int {
	t.Helper()
	calls := map[string]int{}
	for _, l := range loads {
		reports := l.Reports(t)
		for _, one := range reports[max(0, len(reports)-5):] {
			for pod, n := range one.Calls {
				calls[pod] += n
			}
		}
	}
	return calls
}
