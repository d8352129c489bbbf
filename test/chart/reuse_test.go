package chart

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// newKeys are those that a release of an older chart lacks. With --reuse-values an upgrade has
// the old values alone, and no defaults for these.
var newKeys = []string{
	"killSwitch", "goMemoryLimit", "evenkeel.rebalance.dryRun", "peersSalt.create", "http.portName",
	"helmTest", "networkPolicy.egress", "networkPolicy.extraEgress", "probes.startupTimeoutSeconds", "probes.readinessTimeoutSeconds", "probes.livenessTimeoutSeconds",
}

// An upgrade with --reuse-values must not stumble over a key that the old values lack.
func TestReuseValues(t *testing.T) {
	for i := range len(newKeys) + 1 {
		c, gone := load(t, chartDir), newKeys // each, and then all
		if i < len(newKeys) {
			gone = newKeys[i : i+1]
		}
		for _, key := range gone {
			path := strings.Split(key, ".")
			tree := c.Values
			for _, part := range path[:len(path)-1] {
				tree = tree[part].(values)
			}
			if _, ok := tree[path[len(path)-1]]; !ok {
				t.Fatalf("there is no key %s", key)
			}
			delete(tree, path[len(path)-1])
		}
		v := parse(t, "{prometheusRule: {enabled: true}, podMonitor: {enabled: true}, networkPolicy: {enabled: true}}")
		if _, err := renderFiles(c, release, v); err != nil {
			t.Errorf("without %q: %v", gone, err)
		}
	}
}

// The port on which peers are polled is open, also where it is not that of the health endpoint.
func TestPeersPortIsOpen(t *testing.T) {
	objs := decode(t, render(t, parse(t, "{networkPolicy: {enabled: true}, evenkeel: {peers: {port: 9999}}}")))
	open := 0
	for _, rule := range get[*networkingv1.NetworkPolicy](t, objs, "NetworkPolicy hello").Spec.Ingress {
		for _, p := range rule.Ports {
			if p.Port.IntValue() == 9999 && len(rule.From) > 0 {
				open++
			}
		}
	}
	for _, p := range get[*appsv1.Deployment](t, objs, "Deployment hello").Spec.Template.Spec.Containers[0].Ports {
		if p.Name == "peers" && p.ContainerPort == 9999 {
			open++
		}
	}
	if open != 2 {
		t.Errorf("peers.port is open in %d of two places, the NetworkPolicy and the container", open)
	}
}
