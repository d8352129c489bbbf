package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/downloader"
	"helm.sh/helm/v4/pkg/getter"
)

// consumer copies both charts into a temporary folder and updates the dependencies of the
// example chart, as `helm dependency update` does. It returns the example chart's folder.
func consumer(t *testing.T, example string) string {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{chartDir: "chart", example: "example/chart"} {
		if err := os.CopyFS(filepath.Join(root, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(root, "example", "chart")
	cache := t.TempDir()
	var out strings.Builder
	m := &downloader.Manager{
		Out: &out, ChartPath: dir, SkipUpdate: true, Getters: getter.All(cli.New()),
		RepositoryConfig: filepath.Join(cache, "repositories.yaml"), RepositoryCache: cache, ContentCache: cache,
	}
	if err := m.Update(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return dir
}

func renderConsumer(t *testing.T, dir string, v values) (string, error) {
	t.Helper()
	c, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := renderFiles(c, release, v)
	return manifests(files), err
}

// The example chart includes the named templates in its own Deployment. The dependency must
// render nothing else.
func TestConsumer(t *testing.T) {
	dir := consumer(t, consumerDir)
	text, err := renderConsumer(t, dir, values{})
	if err != nil {
		t.Fatal(err)
	}
	objs := decode(t, text)
	if len(objs) != 6 {
		t.Errorf("got %d objects, want 6", len(objs))
	}
	cfg := get[*corev1.ConfigMap](t, objs, "ConfigMap hello-shop").Data["config.yaml"]
	for _, want := range []string{"spread: 2s", "timeout: 45s", "service: hello-shop-headless"} {
		if !strings.Contains(cfg, want) {
			t.Errorf("config.yaml lacks %q", want)
		}
	}
	get[*rbacv1.Role](t, objs, "Role hello-shop")
	pods := get[*appsv1.Deployment](t, objs, "Deployment hello-shop").Spec.Template
	headless := get[*corev1.Service](t, objs, "Service hello-shop-headless")
	for k, v := range headless.Spec.Selector {
		if pods.Labels[k] != v {
			t.Errorf("the headless Service selects %s=%s, but the pods have %v", k, v, pods.Labels)
		}
	}
	if got := *pods.Spec.TerminationGracePeriodSeconds; got != 55 {
		t.Errorf("terminationGracePeriodSeconds is %d, want 55", got)
	}
	if c := pods.Spec.Containers[0]; c.ReadinessProbe.GRPC == nil || c.Lifecycle.PreStop.Sleep == nil || c.Env[0].Name != "POD_NAME" {
		t.Errorf("the container lacks the gRPC readiness probe, the preStop sleep or POD_NAME: %+v", c)
	}
}

// Wrong values are refused in the dependent chart, too.
func TestConsumerRefuses(t *testing.T) {
	dir := consumer(t, consumerDir)
	for values, want := range map[string]string{
		"evenkeel: {evenkeel: {rebalance: {tolerence: 1}}}": "additional properties 'tolerence' not allowed",
		"evenkeel: {terminationGracePeriodSeconds: 40}":     "need at least 51",
	} {
		if _, err := renderConsumer(t, dir, parse(t, values)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q", values, err, want)
		}
	}
}
