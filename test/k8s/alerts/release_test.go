//go:build linux && e2e

package alerts

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// replicas is how many pods a release has.
const replicas = 2

// release is the chart, installed under the name hello in a namespace of its own.
type release struct {
	c  *cluster.Cluster
	ns string
}

// install installs the chart after prepare, and gives Prometheus the rules and the monitor that
// it renders.
func install(t *testing.T, p *prometheus, prepare func(*testing.T, *release), settings ...string) *release {
	t.Helper()
	r := &release{c: p.c, ns: p.c.Namespace(t)}
	if prepare != nil {
		prepare(t, r)
	}
	r.helm(t, "install", settings...)
	r.c.WaitRollout(t, r.ns, "hello")
	m, err := parse(r.monitoring(t, settings...))
	if err != nil {
		t.Fatal(err)
	}
	p.add(t, r.ns, m)
	return r
}

// helm installs or upgrades. An upgrade keeps the settings of before.
func (r *release) helm(t *testing.T, verb string, settings ...string) {
	t.Helper()
	args := []string{verb, "hello", cluster.Chart(), "-n", r.ns}
	if verb == "upgrade" {
		args = append(args, "--reuse-values")
	}
	r.c.Helm(t, append(args, sets(settings)...)...)
}

// sets returns the flags of the settings, and of the image if none is set.
func sets(settings []string) (args []string) {
	for _, s := range append([]string{
		"image.repository=" + cluster.ServerRepository, "image.tag=" + cluster.ImageTag, "image.pullPolicy=Never",
		"resources.requests.cpu=10m", fmt.Sprintf("replicaCount=%d", replicas),
	}, settings...) {
		args = append(args, "--set", s)
	}
	return args
}

// monitoring returns the PrometheusRule and the PodMonitor. The cluster lacks their kinds.
func (r *release) monitoring(t *testing.T, settings ...string) string {
	t.Helper()
	args := append([]string{
		"template", "hello", cluster.Chart(), "-n", r.ns,
		"--set", "prometheusRule.enabled=true", "--set", "podMonitor.enabled=true",
		"-s", "templates/prometheusrule.yaml", "-s", "templates/podmonitor.yaml",
	}, sets(settings)...)
	return r.c.Helm(t, args...)
}

// chartAlerts returns the names of all alerts.
func chartAlerts(t *testing.T, c *cluster.Cluster) (names []string) {
	t.Helper()
	m, err := parse((&release{c: c, ns: "any"}).monitoring(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range m.groups {
		for i := range g.Rules {
			names = append(names, g.Rules[i].Alert)
		}
	}
	return names
}

func (r *release) pods(t *testing.T) []cluster.Pod {
	t.Helper()
	return r.c.Pods(t, r.ns, "app.kubernetes.io/instance=hello")
}

// headless is the target of clients that know all pods.
func (r *release) headless() string {
	return "dns:///hello-headless." + r.ns + ".svc.cluster.local.:50051"
}

// scale changes the number of pods and waits for them.
func (r *release) scale(t *testing.T, pods int) {
	t.Helper()
	r.c.Kubectl(t, "-n", r.ns, "scale", "deploy/hello", fmt.Sprintf("--replicas=%d", pods))
	r.c.WaitEndpoints(t, r.ns, "hello-headless", pods)
}

// configure changes the text of the settings in the ConfigMap, without Helm.
func (r *release) configure(t *testing.T, change func(old string) string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	maps := r.c.Client().CoreV1().ConfigMaps(r.ns)
	m, err := maps.Get(ctx, "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for key, text := range m.Data {
		m.Data[key] = change(text)
	}
	if _, err := maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}
