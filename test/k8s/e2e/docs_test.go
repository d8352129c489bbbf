//go:build linux && e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// docsRest holds the manifests that docs/kubernetes.md leaves to its reader.
const docsRest = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: hello}
---
apiVersion: v1
kind: Service
metadata: {name: hello-headless}
spec:
  clusterIP: None
  selector: {app.kubernetes.io/instance: hello}
  ports: [{name: grpc, port: 50051}]
`

// Manifests written by hand after docs/kubernetes.md must lead to pods that know each other
// and show no condition.
func TestManifestsOfTheDocs(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	r := &release{c: c, ns: c.Namespace(t)}
	settings, role, rest := docsYAML(t)
	binding, spec, ok := strings.Cut(strings.Replace(rest, "namespace: shop", "namespace: "+r.ns, 1), "\n---\n")
	if !ok {
		t.Fatalf("the third YAML block has no pod after the RoleBinding:\n%s", rest)
	}
	for _, manifest := range []string{docsRest, role, binding} {
		c.Apply(t, r.ns, manifest)
	}
	c.Kubectl(t, "-n", r.ns, "create", "configmap", "hello", "--from-literal=evenkeel.yaml="+settings)
	deploy(t, r, podOf(t, spec))
	c.WaitRollout(t, r.ns, "hello")
	pods := r.pods(t)
	for _, p := range pods {
		waitKnown(t, c, pods, p.Name)
	}
	waitHealthy(t, c, pods)
}

// docsYAML returns the three YAML blocks of docs/kubernetes.md.
func docsYAML(t *testing.T) (settings, role, rest string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Chart(), "..", "docs", "kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for block := range strings.SplitSeq(string(text), "```yaml\n") {
		block, _, _ = strings.Cut(block, "```\n")
		blocks = append(blocks, block)
	}
	if len(blocks) != 4 {
		t.Fatalf("docs/kubernetes.md has %d YAML blocks, want 3", len(blocks)-1)
	}
	return blocks[1], blocks[2], blocks[3]
}

// podOf parses the pod of the docs and adds an image and the settings.
func podOf(t *testing.T, text string) corev1.PodSpec {
	t.Helper()
	var spec corev1.PodSpec
	if err := yaml.UnmarshalStrict([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	hello := &spec.Containers[0]
	hello.Image, hello.ImagePullPolicy = cluster.ServerTag, corev1.PullNever
	hello.Args = []string{"-config", "/etc/evenkeel/evenkeel.yaml", "-grpc", ":50051", "-http", ":8080"}
	hello.VolumeMounts = []corev1.VolumeMount{{Name: "settings", MountPath: "/etc/evenkeel"}}
	spec.Volumes = []corev1.Volume{{Name: "settings", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "hello"}},
	}}}
	return spec
}

func deploy(t *testing.T, r *release, spec corev1.PodSpec) {
	t.Helper()
	replicas, labels := int32(2), map[string]string{"app.kubernetes.io/instance": "hello"}
	_, err := r.c.Client().AppsV1().Deployments(r.ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "hello"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
