package chart

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// Go's memory limit follows the container's, with a tenth to spare.
func TestGoMemoryLimit(t *testing.T) {
	for values, want := range map[string]string{
		"{}":                                          "241591910",
		"resources: {limits: {memory: 1Gi}}":          "966367641",
		"resources: {limits: {memory: 500M}}":         "450000000",
		"resources: {limits: {memory: 1.5Gi}}":        "1449551462",
		"resources: {limits: {memory: 1000000000}}":   "900000000",
		"resources: {limits: {memory: null}}":         "",
		"resources: null":                             "",
		"goMemoryLimit: 'off'":                        "off",
		"goMemoryLimit: 100MiB":                       "100MiB",
		"extraEnv: [{name: GOMEMLIMIT, value: 7MiB}]": "7MiB",
	} {
		spec := get[*appsv1.Deployment](t, decode(t, render(t, parse(t, values))), "Deployment hello").Spec.Template.Spec
		got, n := "", 0
		for _, e := range spec.Containers[0].Env {
			if e.Name == "GOMEMLIMIT" {
				got, n = e.Value, n+1
			}
		}
		if got != want || n > 1 {
			t.Errorf("%s: got GOMEMLIMIT %q %d times, want %q", values, got, n, want)
		}
	}
}
