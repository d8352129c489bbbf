//go:build linux

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// within bounds each operation. It is far above the seconds that any of them takes.
const within = 2 * time.Minute

// Client returns a client of the API server with administrator rights.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// RESTConfig returns a copy of the Client's configuration. It connects through DialContext.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// TryKubectl runs kubectl with administrator rights and returns its output.
func (c *Cluster) TryKubectl(ctx context.Context, args ...string) (string, error) {
	return c.tool(ctx, nil, "kubectl", args...)
}

// Kubectl runs TryKubectl and fails t on an error.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return c.must(t, nil, "kubectl", args...)
}

// Helm runs helm with administrator rights and returns its output. It fails t on an error.
func (c *Cluster) Helm(t testing.TB, args ...string) string {
	t.Helper()
	return c.must(t, nil, "helm", args...)
}

// Apply creates or changes the objects of the manifest.
func (c *Cluster) Apply(t testing.TB, namespace, manifest string) string {
	t.Helper()
	return c.must(t, strings.NewReader(manifest), "kubectl", "-n", namespace, "apply", "-f", "-")
}

func (c *Cluster) apply(ctx context.Context, namespace, manifest string) (string, error) {
	return c.tool(ctx, strings.NewReader(manifest), "kubectl", "-n", namespace, "apply", "-f", "-")
}

func (c *Cluster) must(t testing.TB, in io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	out, err := c.tool(ctx, in, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tool runs kubectl or helm from the build. They keep their files in the run's folder.
func (c *Cluster) tool(ctx context.Context, in io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(binDir(), name), args...)
	cmd.Stdin = in
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.path("home"),
		"KUBECACHEDIR="+c.path("home/kube"), "XDG_CACHE_HOME="+c.path("home/cache"),
		"HELM_CACHE_HOME="+c.path("home/helm"), "HELM_CONFIG_HOME="+c.path("home/helm"),
		"HELM_DATA_HOME="+c.path("home/helm"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.String(), nil
}

// Eventually waits until ok returns true. After the limit it fails t with the last error of
// ok.
func (c *Cluster) Eventually(t testing.TB, what string, limit time.Duration, ok func(ctx context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	begun := time.Now()
	if err := poll(ctx, what, ok); err != nil {
		t.Fatalf("%v (waited %v)", err, limit)
	}
	t.Logf("%s after %.1f s", what, time.Since(begun).Seconds())
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace creates a namespace named after t and deletes it when t ends.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(t.Name()), "-"), "-")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: name[:min(len(name), 40)] + "-"}}
	made, err := c.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.remove(t, made.Name) })
	return made.Name
}

// remove deletes a namespace and waits until the containers of its pods have ended, so that they
// take no processor from the next test. The namespace goes first: from then on no controller can
// replace a deleted pod.
func (c *Cluster) remove(t testing.TB, namespace string) {
	if t.Failed() {
		c.keepLogs(t, namespace)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	second := int64(1) // with 0, pods are gone from the API before their containers have ended
	pods := c.client.CoreV1().Pods(namespace)
	err := c.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	if err == nil {
		err = pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &second}, metav1.ListOptions{})
	}
	if err == nil {
		err = poll(ctx, "the pods of "+namespace+" have ended", func(ctx context.Context) (bool, error) {
			list, err := pods.List(ctx, metav1.ListOptions{})
			return err == nil && len(list.Items) == 0, err
		})
	}
	if err != nil {
		t.Logf("removing namespace %s: %v", namespace, err)
	}
}

// failedPods is the folder of the logs of pods whose tests have failed.
const failedPods = "failed"

// keepLogs copies the logs of a namespace's pods, since the kubelet removes them with the pods.
func (c *Cluster) keepLogs(t testing.TB, namespace string) {
	t.Helper()
	pods, _ := filepath.Glob(c.path("pods/" + namespace + "_*"))
	for _, dir := range pods {
		if err := os.CopyFS(c.path(failedPods + "/" + filepath.Base(dir)), os.DirFS(dir)); err != nil {
			t.Logf("keeping the logs of %s: %v", filepath.Base(dir), err)
		}
	}
}

// WaitRollout waits until all pods of the Deployment are new and ready.
func (c *Cluster) WaitRollout(t testing.TB, namespace, deployment string) {
	t.Helper()
	c.Kubectl(t, "-n", namespace, "rollout", "status", "deploy/"+deployment, "--timeout=110s")
}

// ReadyEndpoints returns the number of addresses of a Service's ready endpoints.
func (c *Cluster) ReadyEndpoints(ctx context.Context, namespace, service string) (int, error) {
	list, err := c.client.DiscoveryV1().EndpointSlices(namespace).List(ctx,
		metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range list.Items {
		for _, e := range list.Items[i].Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				n += len(e.Addresses)
			}
		}
	}
	return n, nil
}

// WaitEndpoints waits until the Service has that many ready endpoints.
func (c *Cluster) WaitEndpoints(t testing.TB, namespace, service string, want int) {
	t.Helper()
	what := fmt.Sprintf("%d ready endpoints of %s/%s", want, namespace, service)
	c.Eventually(t, what, time.Minute, func(ctx context.Context) (bool, error) {
		n, err := c.ReadyEndpoints(ctx, namespace, service)
		if err == nil && n != want {
			err = fmt.Errorf("%d endpoints are ready", n)
		}
		return n == want, err
	})
}

// Pod is a running pod.
type Pod struct {
	Namespace, Name, IP string
	Ready               bool
	Restarts            int
	// Started is when its first container last started.
	Started time.Time
}

// Pods returns the pods with the labels, except those that are terminating or have no address
// yet.
func (c *Cluster) Pods(t testing.TB, namespace, selector string) []Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	var pods []Pod
	for i := range list.Items {
		if p := &list.Items[i]; p.DeletionTimestamp == nil && p.Status.PodIP != "" {
			pods = append(pods, podOf(p))
		}
	}
	return pods
}

func podOf(p *corev1.Pod) Pod {
	pod := Pod{Namespace: p.Namespace, Name: p.Name, IP: p.Status.PodIP}
	for _, cond := range p.Status.Conditions {
		pod.Ready = pod.Ready || cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue
	}
	for _, s := range p.Status.ContainerStatuses {
		pod.Restarts += int(s.RestartCount)
		if s.State.Running != nil && pod.Started.IsZero() {
			pod.Started = s.State.Running.StartedAt.Time
		}
	}
	return pod
}

// Logs returns the logs of a container so far.
func (c *Cluster) Logs(t testing.TB, namespace, pod, container string) string {
	t.Helper()
	return c.Kubectl(t, "-n", namespace, "logs", pod, "-c", container)
}

// HTTP returns a client that connects from inside the cluster's network.
func (c *Cluster) HTTP() *http.Client {
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DialContext: c.DialContext, DisableKeepAlives: true},
	}
}

// TryGet returns the body of a URL inside the cluster's network. The URL's host must be an IP
// address.
func (c *Cluster) TryGet(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.HTTP().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, err
}

// Get runs TryGet and fails t on an error.
func (c *Cluster) Get(t testing.TB, url string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	body, err := c.TryGet(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
