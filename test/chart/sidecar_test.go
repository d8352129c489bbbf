package chart

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// renderSidecar renders the example of a server behind the sidecar.
func renderSidecar(t *testing.T, dir, values string) (pod *corev1.PodSpec, sidecar *corev1.Container) {
	t.Helper()
	text, err := renderConsumer(t, dir, parse(t, values))
	if err != nil {
		t.Fatal(err)
	}
	pod = &get[*appsv1.Deployment](t, decode(t, text), "Deployment hello-greeter").Spec.Template.Spec
	return pod, &pod.InitContainers[0]
}

// The chart of a Python server has the sidecar with three lines. The kubelet runs it as a native
// sidecar: it starts before the server, drains while the server goes on, and ends after it.
func TestSidecar(t *testing.T) {
	dir := consumer(t, sidecarDir)
	text, err := renderConsumer(t, dir, values{})
	if err != nil {
		t.Fatal(err)
	}
	objs := decode(t, text)
	if len(objs) != 6 {
		t.Errorf("got %d objects, want 6", len(objs))
	}
	if cfg := get[*corev1.ConfigMap](t, objs, "ConfigMap hello-greeter").Data["config.yaml"]; !strings.Contains(cfg, "service: hello-greeter-headless") {
		t.Errorf("config.yaml lacks the headless Service:\n%s", cfg)
	}
	pods := get[*appsv1.Deployment](t, objs, "Deployment hello-greeter").Spec.Template
	for k, v := range get[*corev1.Service](t, objs, "Service hello-greeter-headless").Spec.Selector {
		if pods.Labels[k] != v {
			t.Errorf("the headless Service selects %s=%s, but the pods have %v", k, v, pods.Labels)
		}
	}
	pod, c := renderSidecar(t, dir, "")
	if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Errorf("restartPolicy is %v, want Always", c.RestartPolicy)
	}
	want := []string{"-listen=:50051", "-upstream=127.0.0.1:50052", "-http=:8080", "-config=/etc/evenkeel/config.yaml"}
	if !slices.Equal(c.Args, want) {
		t.Errorf("the flags are %q, want %q", c.Args, want)
	}
	// The name of the socket of -drain is made of the flag -listen.
	if got := c.Lifecycle.PreStop.Exec.Command; !slices.Equal(got, []string{"/evenkeel-sidecar", "-drain", c.Args[0]}) {
		t.Errorf("the preStop hook is %q", got)
	}
	if p := c.StartupProbe.HTTPGet.Path; p != "/livez" {
		t.Errorf("the server starts after the startup probe, which must not wait for it, but its path is %s", p)
	}
	if p := c.ReadinessProbe.HTTPGet.Path; p != "/readyz" {
		t.Errorf("the path of the readiness probe is %s, want /readyz", p)
	}
	server := pod.Containers[0]
	if got := server.Lifecycle.PreStop.Sleep.Seconds; got != 21 {
		t.Errorf("the server's preStop sleep is %d s, want shutdown.timeout and a second", got)
	}
	if got := *pod.TerminationGracePeriodSeconds; got != 36 {
		t.Errorf("terminationGracePeriodSeconds is %d, want 21 for the drain, 10 for the server and 5", got)
	}
	if s := c.SecurityContext; s == nil || !*s.ReadOnlyRootFilesystem || !*s.RunAsNonRoot || *s.RunAsUser != 65532 {
		t.Errorf("the security context is %+v, want the restricted one", s)
	}
	if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "POD_IP" }) {
		t.Error("POD_IP is not set")
	}
	checkMounts(t, pod, c)
}

// checkMounts checks that each mount has a volume.
func checkMounts(t *testing.T, pod *corev1.PodSpec, c *corev1.Container) {
	t.Helper()
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("the mount %s has no volume", m.Name)
		}
	}
}

func TestSidecarValues(t *testing.T) {
	pod, c := renderSidecar(t, consumer(t, sidecarDir), `
evenkeel:
  evenkeel: {shutdown: {timeout: 45s}}
  grpc: {port: 9000, tls: {secretName: certs, clientAuth: true}}
  sidecar:
    upstream: unix:/run/app/grpc
    proxyProtocol: true
    serverStopSeconds: 30
    extraArgs: [-log-level=debug]
    image: {repository: registry.test/sidecar, tag: v1}
    resources: {requests: {memory: 32Mi}}
`)
	want := []string{
		"-listen=:9000", "-upstream=unix:/run/app/grpc", "-http=:8080", "-config=/etc/evenkeel/config.yaml", "-proxy-protocol",
		"-tls-cert=/etc/grpc-tls/tls.crt", "-tls-key=/etc/grpc-tls/tls.key", "-tls-client-ca=/etc/grpc-tls/ca.crt", "-log-level=debug",
	}
	if !slices.Equal(c.Args, want) {
		t.Errorf("the flags are %q, want %q", c.Args, want)
	}
	if c.Image != "registry.test/sidecar:v1" || c.Ports[0].ContainerPort != 9000 || c.Resources.Requests.Memory().String() != "32Mi" {
		t.Errorf("the image is %s, the port %d, the requests %v", c.Image, c.Ports[0].ContainerPort, c.Resources.Requests)
	}
	if got := *pod.TerminationGracePeriodSeconds; got != 81 {
		t.Errorf("terminationGracePeriodSeconds is %d, want 46 + 30 + 5", got)
	}
	checkMounts(t, pod, c)
}

// What the sidecar would refuse, the chart refuses.
func TestSidecarRefuses(t *testing.T) {
	dir := consumer(t, sidecarDir)
	for values, want := range map[string]string{
		"evenkeel: {sidecar: {upstream: 50052}}":                      "got number, want string",
		"evenkeel: {sidecar: {upstream: ':50052'}}":                   "does not match pattern",
		"evenkeel: {sidecar: {upsteam: 'a:1'}}":                       "additional properties 'upsteam' not allowed",
		"evenkeel: {evenkeel: {policy: {keepaliveTime: 1m}}}":         "evenkeel.policy.keepaliveTime: the sidecar passes PINGs on",
		"evenkeel: {evenkeel: {policy: {permitWithoutStream: true}}}": "evenkeel.policy.permitWithoutStream: the sidecar",
		"evenkeel: {evenkeel: {shutdown: {minimum: 30s}}}":            "evenkeel.shutdown.minimum",
	} {
		if _, err := renderConsumer(t, dir, parse(t, values)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q", values, err, want)
		}
	}
}

// Without `enabled` the chart creates no Secret, so no pod may refer to one that it would create.
func TestSecretsOfOtherCharts(t *testing.T) {
	for _, dir := range []string{consumer(t, sidecarDir), consumer(t, consumerDir)} {
		for values, want := range map[string]string{
			"evenkeel: {peersSalt: {create: true}}":                                      "peersSalt.create: ",
			"evenkeel: {peersTLS: {certificate: {create: true, issuerRef: {name: ca}}}}": "peersTLS.certificate.create: ",
		} {
			if _, err := renderConsumer(t, dir, parse(t, values)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got error %v, want %q", values, err, want)
			}
		}
	}
}
