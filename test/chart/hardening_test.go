package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// egress writes the rules as "PORTS to N peers".
func egress(t *testing.T, given string) []string {
	t.Helper()
	spec := get[*networkingv1.NetworkPolicy](t, decode(t, render(t, parse(t, given))), "NetworkPolicy hello").Spec
	if got := slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress); got != (len(spec.Egress) > 0) {
		t.Errorf("%s: the policy is for egress: %t, with %d rules", given, got, len(spec.Egress))
	}
	var out []string
	for _, rule := range spec.Egress {
		var ports []string
		for _, p := range rule.Ports {
			ports = append(ports, fmt.Sprintf("%s/%s", p.Port.String(), *p.Protocol))
		}
		out = append(out, fmt.Sprintf("%s to %d peers", strings.Join(ports, " "), len(rule.To)))
	}
	return out
}

// The rules for egress allow what evenkeel itself needs: DNS, the health ports of the other pods,
// and the API server where the source of peers is kubernetes.
func TestEgress(t *testing.T) {
	const dns, peers, api = "53/UDP 53/TCP to 0 peers", "8080/TCP to 1 peers", "443/TCP 6443/TCP to 0 peers"
	for _, tc := range []struct {
		values string
		want   []string
	}{
		{"networkPolicy: {enabled: true}", nil},
		{"networkPolicy: {enabled: true, egress: {enabled: true}}", []string{dns, peers, api}},
		{"{networkPolicy: {enabled: true, egress: {enabled: true}}, evenkeel: {peers: {source: dns, port: 9999}}}", []string{dns, "8080/TCP 9999/TCP to 1 peers"}},
		{
			"networkPolicy: {enabled: true, egress: {enabled: true, dns: [{namespaceSelector: {}}], dnsPorts: [5353], apiServer: [{ipBlock: {cidr: 198.18.0.1/32}}], apiServerPorts: [16443]}}",
			[]string{"5353/UDP 5353/TCP to 1 peers", peers, "16443/TCP to 1 peers"},
		},
		{
			"networkPolicy: {enabled: true, egress: {enabled: true}, extraEgress: [{ports: [{port: 5432, protocol: TCP}]}]}",
			[]string{dns, peers, api, "5432/TCP to 0 peers"},
		},
	} {
		if got := egress(t, tc.values); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.values, got, tc.want)
		}
	}
}

// The timeouts of the probes are values, for this chart and for the sidecar.
func TestProbeTimeouts(t *testing.T) {
	const given = "probes: {startupTimeoutSeconds: 3, readinessTimeoutSeconds: 4, livenessTimeoutSeconds: 7}"
	spec := get[*appsv1.Deployment](t, decode(t, render(t, parse(t, given))), "Deployment hello").Spec.Template.Spec
	_, sidecar := renderSidecar(t, consumer(t, sidecarDir), "evenkeel: {"+given+"}")
	for name, c := range map[string]*corev1.Container{"server": &spec.Containers[0], "sidecar": sidecar} {
		got := []int32{c.StartupProbe.TimeoutSeconds, c.ReadinessProbe.TimeoutSeconds, c.LivenessProbe.TimeoutSeconds}
		if !slices.Equal(got, []int32{3, 4, 7}) {
			t.Errorf("%s: got the timeouts %v, want 3, 4 and 7", name, got)
		}
	}
}

// The sidecar's memory limit of Go follows that of its container.
func TestGoMemoryLimitOfTheSidecar(t *testing.T) {
	dir := consumer(t, sidecarDir)
	for given, want := range map[string]string{
		"{}": "",
		"evenkeel: {sidecar: {resources: {limits: {memory: 100Mi}}}}":                        "94371840",
		"evenkeel: {sidecar: {resources: {limits: {memory: 1G}}, goMemoryLimit: 500MiB}}":    "500MiB",
		"evenkeel: {sidecar: {goMemoryLimit: 'off'}}":                                        "off",
		"evenkeel: {resources: {limits: {memory: 1Gi}}, sidecar: {resources: {limits: {}}}}": "",
	} {
		_, c := renderSidecar(t, dir, given)
		got := ""
		for _, e := range c.Env {
			if e.Name == "GOMEMLIMIT" {
				got += e.Value
			}
		}
		if got != want {
			t.Errorf("%s: got GOMEMLIMIT %q, want %q", given, got, want)
		}
	}
}

// A sidecar whose server would be itself, or the health endpoint, is refused.
func TestSidecarMustNotBeItsOwnServer(t *testing.T) {
	dir := consumer(t, sidecarDir)
	for given, want := range map[string]string{
		"evenkeel: {sidecar: {upstream: '127.0.0.1:50051'}}":                        "sidecar.upstream: 127.0.0.1:50051 is the port of grpc.port",
		"evenkeel: {sidecar: {upstream: 'localhost:8080'}}":                         "sidecar.upstream: localhost:8080 is the port of http.port",
		"evenkeel: {evenkeel: {peers: {port: 50052}}}":                              "sidecar.upstream: 127.0.0.1:50052 is the port of evenkeel.peers.port",
		"evenkeel: {sidecar: {upstream: '[::1]:50051'}}":                            "sidecar.upstream: [::1]:50051 is the port of grpc.port",
		"evenkeel: {grpc: {port: 8080}, sidecar: {upstream: 'unix:/run/app/grpc'}}": "http.port: 8080 is the port of grpc.port as well",
	} {
		if _, err := renderConsumer(t, dir, parse(t, given)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q", given, err, want)
		}
	}
}

// `helm test` runs one pod, which asks a health port through DNS. It is no pod of the Services, and
// a NetworkPolicy lets it in.
func TestHelmTest(t *testing.T) {
	objs := decode(t, render(t, parse(t, "networkPolicy: {enabled: true}")))
	pod := get[*corev1.Pod](t, objs, "Pod hello-test")
	if pod.Annotations["helm.sh/hook"] != "test" || pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("the pod is no test: %v, restart policy %s", pod.Annotations, pod.Spec.RestartPolicy)
	}
	c := pod.Spec.Containers[0]
	if len(c.Env) != 1 || c.Env[0].Value != "http://hello-headless.shop.svc:8080/readyz" || !slices.Equal(c.Args, []string{"-check=$(URL)"}) {
		t.Errorf("the pod asks %v with %q", c.Env, c.Args)
	}
	for name := range get[*corev1.Service](t, objs, "Service hello-headless").Spec.Selector {
		if name == "app.kubernetes.io/name" && pod.Labels[name] == "evenkeel" {
			t.Error("the Services select the pod of the test")
		}
	}
	allowed := false
	for _, from := range get[*networkingv1.NetworkPolicy](t, objs, "NetworkPolicy hello").Spec.Ingress[1].From {
		if from.PodSelector != nil && from.PodSelector.MatchLabels["app.kubernetes.io/name"] == pod.Labels["app.kubernetes.io/name"] {
			allowed = true
		}
	}
	if !allowed {
		t.Error("the NetworkPolicy keeps the pod of the test away from the health port")
	}
	c = get[*corev1.Pod](t, decode(t, render(t, parse(t, "{peersTLS: {secretName: a}, helmTest: {image: 'curl:8', command: [curl, -fsSk, $(URL)]}}"))), "Pod hello-test").Spec.Containers[0]
	if c.Image != "curl:8" || !slices.Equal(c.Command, []string{"curl", "-fsSk", "$(URL)"}) || c.Args != nil || !strings.HasPrefix(c.Env[0].Value, "https://") {
		t.Errorf("got the image %s, the command %q, the flags %q and %v", c.Image, c.Command, c.Args, c.Env)
	}
	if strings.Contains(render(t, parse(t, "helmTest: {enabled: false}")), "helm.sh/hook") {
		t.Error("helmTest.enabled is false, and there is a test")
	}
}

// A digest pins both images, whatever the tag is.
func TestDigests(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	spec := get[*appsv1.Deployment](t, decode(t, render(t, parse(t, "image: {digest: '"+digest+"'}"))), "Deployment hello").Spec.Template.Spec
	if got := spec.Containers[0].Image; got != "evenkeel-example-server:dev@"+digest {
		t.Errorf("the image is %s", got)
	}
	_, c := renderSidecar(t, consumer(t, sidecarDir), "evenkeel: {sidecar: {image: {digest: '"+digest+"'}}}")
	if c.Image != "evenkeel-sidecar:dev@"+digest {
		t.Errorf("the image of the sidecar is %s", c.Image)
	}
}

// The annotations of Chart.yaml have the form that Artifact Hub reads.
func TestArtifactHub(t *testing.T) {
	meta := load(t, chartDir).Metadata
	if got := meta.Annotations["artifacthub.io/category"]; got != "networking" {
		t.Errorf("the category is %q", got)
	}
	var links, images []struct{ Name, URL, Image string }
	var changes []struct{ Kind, Description string }
	for name, into := range map[string]any{"links": &links, "images": &images, "changes": &changes} {
		if err := yaml.UnmarshalStrict([]byte(meta.Annotations["artifacthub.io/"+name]), into); err != nil {
			t.Errorf("artifacthub.io/%s: %v", name, err)
		}
	}
	if len(links) == 0 || len(images) != 2 || len(changes) == 0 || len(meta.Maintainers) == 0 {
		t.Errorf("got %d links, %d images, %d changes, %d maintainers", len(links), len(images), len(changes), len(meta.Maintainers))
	}
	for _, c := range changes {
		if !slices.Contains([]string{"added", "changed", "deprecated", "removed", "fixed", "security"}, c.Kind) || c.Description == "" {
			t.Errorf("the change %+v has no kind that Artifact Hub knows, or no text", c)
		}
	}
	values := parse(t, read(t, chartDir+"/values.yaml"))
	for i, at := range [][]string{{"image"}, {"sidecar", "image"}} {
		if want := fmt.Sprint(sub(t, values, at...)["repository"]) + ":" + meta.AppVersion; images[i].Image != want {
			t.Errorf("the image %s of the annotation is not %s", images[i].Image, want)
		}
	}
}

// The pods of both examples are as restricted as those of the chart. A Service with a name such as
// evenkeel-peers must not set variables that look like settings.
func TestExamplesAreRestricted(t *testing.T) {
	for dir, name := range map[string]string{consumerDir: "hello-shop", sidecarDir: "hello-greeter"} {
		text, err := renderConsumer(t, consumer(t, dir), values{})
		if err != nil {
			t.Fatal(err)
		}
		pod := get[*appsv1.Deployment](t, decode(t, text), "Deployment "+name).Spec.Template.Spec
		if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
			t.Errorf("%s: Services set variables in its pods", dir)
		}
		for _, c := range append(pod.InitContainers, pod.Containers...) {
			s := c.SecurityContext
			if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) == 0 {
				t.Errorf("%s: the container %s is not restricted: %+v", dir, c.Name, s)
			}
		}
	}
}

// The autoscaler's default is the one that the simulation shows not to run away.
func TestScaleUpIsThatOfTheSimulation(t *testing.T) {
	spec := get[*autoscalingv2.HorizontalPodAutoscaler](t, decode(t, render(t, parse(t, "autoscaling: {enabled: true}"))), "HorizontalPodAutoscaler hello").Spec
	const want = 120
	if b := spec.Behavior; b.ScaleUp == nil || *b.ScaleUp.StabilizationWindowSeconds != want || *b.ScaleDown.StabilizationWindowSeconds != 300 {
		t.Errorf("the behavior is %+v, want windows of %d and 300 s", b, want)
	}
	if !strings.Contains(read(t, "../sim/months_cpu.go"), "const chartScaleUp = 2 * time.Minute") {
		t.Errorf("the simulation does not run with a window of %d s", want)
	}
}
