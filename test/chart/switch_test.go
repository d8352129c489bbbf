package chart

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Every release mounts the ConfigMap of the kill switch, which need not exist, as a directory:
// a file mounted with subPath never changes.
func TestKillSwitchIsMounted(t *testing.T) {
	for _, tc := range []struct{ values, name, file string }{
		{"{}", "evenkeel-switch", "/etc/evenkeel-switch/evenkeel.yaml"},
		{"killSwitch: {configMap: stop-all, key: stop.yaml}", "stop-all", "/etc/evenkeel-switch/stop.yaml"},
		{"killSwitch: {configMap: ''}", "", ""},
	} {
		spec := get[*appsv1.Deployment](t, decode(t, render(t, parse(t, tc.values))), "Deployment hello").Spec.Template.Spec
		name := ""
		for _, v := range spec.Volumes {
			if v.Name == "evenkeel-switch" && v.ConfigMap.Optional != nil && *v.ConfigMap.Optional {
				name = v.ConfigMap.Name
			}
		}
		file := ""
		for _, e := range spec.Containers[0].Env {
			if e.Name == "EVENKEEL_SWITCH" {
				file = e.Value
			}
		}
		mounted := slices.ContainsFunc(spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == "evenkeel-switch" && m.SubPath == "" && strings.HasPrefix(file, m.MountPath+"/")
		})
		if name != tc.name || file != tc.file || mounted != (file != "") {
			t.Errorf("%s: got ConfigMap %q, file %q, mounted %t, want %q and %q", tc.values, name, file, mounted, tc.name, tc.file)
		}
	}
}
