//go:build linux && e2e

package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// scrapeEvery is the time from one scrape to the next, and how long one may take. A scrape that
// fails makes alerts begin again, and two cores carry all this.
const scrapeEvery = "2s"

// address is where Prometheus serves, on the node.
const address = "127.0.0.1:9090"

// readyPath answers once Prometheus is ready, with a text. All other paths answer with JSON.
const readyPath = "/-/ready"

// prometheus is a Prometheus that runs on the node, outside of the pods' network.
type prometheus struct {
	c    *cluster.Cluster
	http *http.Client

	mu sync.Mutex // held while the rules change
}

// alert is a pending or firing alert, as Prometheus shows it.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
	Value       string            `json:"value"`
}

func (a *alert) name() string { return a.Labels["alertname"] }

// startPrometheus starts the Prometheus that prometheus.sh has extracted.
func startPrometheus(t *testing.T, c *cluster.Cluster) *prometheus {
	t.Helper()
	p := &prometheus{c: c, http: &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: c.DialContext},
	}}
	t.Cleanup(p.http.CloseIdleConnections)
	if err := os.MkdirAll(p.path("rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, p.path("prometheus.yaml"), map[string]any{
		"global":     map[string]any{"scrape_interval": scrapeEvery, "scrape_timeout": scrapeEvery, "evaluation_interval": "1s"},
		"rule_files": []string{p.path("rules/*.yaml")},
		"scrape_configs": []any{map[string]any{
			"job_name": "pods", "tls_config": map[string]any{"insecure_skip_verify": true},
			"file_sd_configs": []any{map[string]any{"files": []string{p.targets("*")}, "refresh_interval": "1s"}},
		}},
	})
	// Prometheus looks its host name up, which takes 10 s where nothing answers.
	err := c.Run("prometheus", "unshare", "--uts", "sh", "-c", `hostname localhost && exec prometheus "$@"`, "sh",
		"--config.file="+p.path("prometheus.yaml"), "--web.listen-address="+address, "--storage.tsdb.path="+p.path("data"))
	if err != nil {
		t.Fatalf("%v; prometheus.sh extracts Prometheus", err)
	}
	c.Eventually(t, "Prometheus is ready", time.Minute, func(ctx context.Context) (bool, error) {
		_, err := p.get(ctx, readyPath)
		return err == nil, err
	})
	return p
}

func (p *prometheus) path(name string) string { return filepath.Join(p.c.Dir, "prometheus", name) }

// add makes Prometheus scrape a release and evaluate its rules, until t ends.
func (p *prometheus) add(t *testing.T, namespace string, m monitoring) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.discover(ctx, namespace, m) })
	for i := range m.groups {
		m.groups[i].Name = namespace
		for j := range m.groups[i].Rules {
			m.groups[i].Rules[j] = shorten(m.groups[i].Rules[j])
		}
	}
	file := p.path("rules/" + namespace + ".yaml")
	p.change(t, func() { write(t, file, map[string]any{"groups": m.groups}) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		p.change(t, func() { _ = errors.Join(os.Remove(file), os.Remove(p.targets(namespace))) })
	})
	p.c.Eventually(t, "Prometheus has the rules", time.Minute, func(ctx context.Context) (bool, error) {
		body, err := p.get(ctx, "/api/v1/rules?type=alert")
		return strings.Contains(string(body), `"name":"`+namespace+`"`), err
	})
}

// change changes rules and makes Prometheus read them.
func (p *prometheus) change(t *testing.T, how func()) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	how()
	if err := p.c.Signal("prometheus", syscall.SIGHUP); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, file string, content any) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (p *prometheus) targets(namespace string) string {
	return p.path("targets-" + namespace + ".json")
}

// discover keeps the targets of a release up to date until ctx is done, as the Prometheus operator
// makes Prometheus do for a PodMonitor. Debian's Prometheus cannot ask Kubernetes by itself. While
// the API server is away, the targets stay as they were.
func (p *prometheus) discover(ctx context.Context, namespace string, m monitoring) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for before := ""; ; {
		list, err := p.c.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.FormatLabels(m.labels)})
		if err == nil {
			found, _ := json.Marshal(targetsOf(list.Items, m.endpoint))
			if string(found) != before && replace(p.targets(namespace), found) == nil {
				before = string(found)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// target is an entry of a file for file_sd_configs.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// targetsOf returns the endpoint of pods that have not ended.
func targetsOf(pods []corev1.Pod, scraped endpoint) []target {
	all := []target{}
	for i := range pods {
		pod := &pods[i]
		if pod.Status.PodIP == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		for _, container := range pod.Spec.Containers {
			for _, open := range container.Ports {
				if open.Name == scraped.Port {
					address := net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(open.ContainerPort)))
					all = append(all, target{[]string{address}, map[string]string{
						"namespace": pod.Namespace, "pod": pod.Name, "container": container.Name,
						"__scheme__": scraped.Scheme, "__metrics_path__": scraped.Path,
					}})
				}
			}
		}
	}
	return all
}

// replace writes a file at once, since Prometheus may read it at any moment.
func replace(file string, content []byte) error {
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// get returns the answer of Prometheus' API to a path.
func (p *prometheus) get(ctx context.Context, path string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	if path == readyPath {
		return nil, nil
	}
	var answer struct{ Data json.RawMessage }
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return answer.Data, err
}

// alerts returns the alerts of a namespace, pending ones too.
func (p *prometheus) alerts(ctx context.Context, namespace string) ([]alert, error) {
	body, err := p.get(ctx, "/api/v1/alerts")
	if err != nil {
		return nil, err
	}
	var all struct{ Alerts []alert }
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all.Alerts, func(a alert) bool { return a.Labels["namespace"] != namespace }), nil
}

// firing returns the firing alerts of a namespace, or those with that name.
func (p *prometheus) firing(ctx context.Context, namespace, name string) ([]alert, error) {
	all, err := p.alerts(ctx, namespace)
	return slices.DeleteFunc(all, func(a alert) bool {
		return a.State != "firing" || name != "" && a.name() != name
	}), err
}

// value returns what an expression comes to as text, for the log.
func (p *prometheus) value(ctx context.Context, expr string) string {
	body, err := p.get(ctx, "/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// scraped waits until Prometheus has the metrics of that many pods.
func (p *prometheus) scraped(t *testing.T, namespace string, pods int) {
	t.Helper()
	p.c.Eventually(t, fmt.Sprintf("Prometheus has the metrics of %d pods", pods), time.Minute, func(ctx context.Context) (bool, error) {
		got := p.value(ctx, fmt.Sprintf("count(evenkeel_ready{namespace=%q} == 1)", namespace))
		return strings.Contains(got, fmt.Sprintf("%q]", fmt.Sprint(pods))), fmt.Errorf("it has %s", got)
	})
}

// quietFor is how long a healthy release must show no alert, longer than most alerts must hold.
const quietFor = 15 * time.Second

// quiet waits until no alert of the namespace has been firing or pending for quietFor.
func (p *prometheus) quiet(t *testing.T, namespace string) {
	t.Helper()
	since := time.Now()
	p.c.Eventually(t, "no alert", time.Minute, func(ctx context.Context) (bool, error) {
		all, err := p.alerts(ctx, namespace)
		if err != nil || len(all) > 0 {
			since = time.Now()
			return false, fmt.Errorf("%w: %v", err, all)
		}
		return time.Since(since) > quietFor, nil
	})
}
