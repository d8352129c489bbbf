package chart

import (
	"strings"
	"testing"
)

// NOTES.txt must name the targets for clients and the health port, and warn of no default.
func TestNotes(t *testing.T) {
	plain := notes(t, values{})
	for _, want := range []string{
		"dns:///hello-headless.shop.svc:50051", "hello.shop.svc:50051",
		"kubectl -n shop port-forward deploy/hello 8080", "http://127.0.0.1:8080/", "upgrade with --reset-then-reuse-values --set replicaCount=5",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("NOTES.txt lacks %q:\n%s", want, plain)
		}
	}
	if strings.Contains(plain, "WARNING") {
		t.Errorf("NOTES.txt warns of the defaults:\n%s", plain)
	}
}

// NOTES.txt must warn of values that are allowed but rarely intended, and of no others.
func TestNotesWarn(t *testing.T) {
	for given, want := range map[string]string{
		"evenkeel: {peers: {source: none}}":                                              "nothing is moved",
		"{evenkeel: {peers: {source: dns}}, service: {ipFamilyPolicy: PreferDualStack}}": "counts as two",
		"evenkeel: {rebalance: {enabled: false}}":                                        "rebalance.enabled is false",
		"serviceAccount: {automountToken: false}":                                        "cannot watch EndpointSlices",
		"rbac: {create: false}":                                                          "may list and watch endpointslices",
		"{autoscaling: {enabled: true}, replicaCount: 7}":                                "replicaCount is not used",
		"evenkeel: {peers: {salt: abc}}":                                                 "readable in the ConfigMap. Use peersSalt",
		"service: {internalTrafficPolicy: Local}":                                        "may stay uneven",
		"evenkeel: {policy: {maxConnectionAge: 5m}}":                                     "is below 30m",
		"peersTLS: {secretName: pods}":                                                   "https://127.0.0.1:8080/",
		"{networkPolicy: {enabled: true}, podMonitor: {enabled: true}}":                  "Prometheus cannot scrape",
		"podDisruptionBudget: {enabled: true, maxUnavailable: 0}":                        "no pod may ever be evicted",
		"podDisruptionBudget: {enabled: true, minAvailable: 2}":                          "no pod may ever be evicted",
		"podDisruptionBudget: {enabled: true, minAvailable: 100%}":                       "no pod may ever be evicted",
		"{replicaCount: 1, podDisruptionBudget: {enabled: true, minAvailable: 1}}":       "no pod may ever be evicted",
		"replicaCount: null":                                                             "scale deploy/hello --replicas=5",
		"{autoscaling: {enabled: true}, replicaCount: null}":                             "2 to 10 pods",
		"{evenkeel: {peers: {salt: a}}, peersSalt: {existingSecret: b}}":                 "peersSalt overrides it",
	} {
		if got := notes(t, parse(t, given)); !strings.Contains(got, want) {
			t.Errorf("%s: NOTES.txt lacks %q:\n%s", given, want, got)
		}
	}
	for _, quiet := range []string{
		"evenkeel: {policy: {maxConnectionAge: 30m}}", "autoscaling: {enabled: true}", "evenkeel: {peers: {source: dns}}",
		"{networkPolicy: {enabled: true, monitoring: [{podSelector: {}}]}, podMonitor: {enabled: true}}", "networkPolicy: {enabled: true}",
		"podDisruptionBudget: {enabled: true}", "podDisruptionBudget: {enabled: true, minAvailable: 1}", "podDisruptionBudget: {enabled: true, minAvailable: 50%}",
	} {
		if got := notes(t, parse(t, quiet)); strings.Contains(got, "WARNING") {
			t.Errorf("%s: unexpected warning:\n%s", quiet, got)
		}
	}
}
