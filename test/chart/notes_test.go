package chart

import (
	"strings"
	"testing"
)

// NOTES.txt says where clients go, where to look, and what is seldom meant.
func TestNotes(t *testing.T) {
	plain := notes(t, values{})
	for _, want := range []string{
		"dns:///hello-headless.shop.svc:50051", "hello.shop.svc:50051",
		"kubectl -n shop port-forward deploy/hello 8080", "http://127.0.0.1:8080/", "an upgrade with replicaCount=5",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("does not say %q:\n%s", want, plain)
		}
	}
	if strings.Contains(plain, "WARNING") {
		t.Errorf("warns of the defaults:\n%s", plain)
	}
}

func TestNotesWarn(t *testing.T) {
	for given, want := range map[string]string{
		"evenkeel: {peers: {source: none}}":                                              "nothing is moved",
		"{evenkeel: {peers: {source: dns}}, service: {ipFamilyPolicy: PreferDualStack}}": "counts as two",
		"evenkeel: {rebalance: {enabled: false}}":                                        "rebalance.enabled is false",
		"serviceAccount: {automountToken: false}":                                        "EndpointSlices cannot be watched",
		"rbac: {create: false}":                                                          "may list and watch endpointslices",
		"{autoscaling: {enabled: true}, replicaCount: 7}":                                "replicaCount is not used",
		"evenkeel: {peers: {salt: abc}}":                                                 "for all to read",
		"service: {internalTrafficPolicy: Local}":                                        "may not be balanced",
		"evenkeel: {policy: {maxConnectionAge: 5m}}":                                     "is below 30m",
		"peersTLS: {secretName: pods}":                                                   "https://127.0.0.1:8080/",
		"replicaCount: null":                                                             "scale deploy/hello --replicas=5",
		"{autoscaling: {enabled: true}, replicaCount: null}":                             "2 to 10 pods",
		"{evenkeel: {peers: {salt: a}}, peersSalt: {existingSecret: b}}":                 "comes before it",
	} {
		if got := notes(t, parse(t, given)); !strings.Contains(got, want) {
			t.Errorf("%s: does not say %q:\n%s", given, want, got)
		}
	}
	for _, quiet := range []string{"evenkeel: {policy: {maxConnectionAge: 30m}}", "autoscaling: {enabled: true}", "evenkeel: {peers: {source: dns}}"} {
		if got := notes(t, parse(t, quiet)); strings.Contains(got, "WARNING") {
			t.Errorf("%s:\n%s", quiet, got)
		}
	}
}
