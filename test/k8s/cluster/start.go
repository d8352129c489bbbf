//go:build linux

package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// pollEvery is the time from one attempt of poll to the next.
const pollEvery = 100 * time.Millisecond

// poll calls ok until it returns true or ctx is done. Its error names what it waited for and
// the last cause.
func poll(ctx context.Context, what string, ok func(context.Context) (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var why error
	for {
		done, err := ok(ctx)
		if done {
			return nil
		}
		if ctx.Err() == nil || why == nil { // the end of ctx is not the cause
			why = err
		}
		select {
		case <-ctx.Done():
			if why != nil {
				return fmt.Errorf("%s: timed out: %w", what, why)
			}
			return fmt.Errorf("%s: timed out", what)
		case <-tick.C:
		}
	}
}

func (c *Cluster) upAPI(ctx context.Context) (err error) {
	if err := c.node.Start(c.parts["etcd"]); err != nil {
		return err
	}
	if err := c.node.Start(c.parts["kube-apiserver"]); err != nil {
		return err
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.path("pki/admin.kubeconfig")); err != nil {
		return err
	}
	c.config.Dial = c.DialContext
	c.config.QPS = -1 // no client-side limit, so that tests wait only for the API server
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return err
	}
	if err := c.WaitAPI(ctx); err != nil {
		return err
	}
	c.log("the API server is ready")
	return nil
}

// WaitAPI waits until the API server reports that it is ready.
func (c *Cluster) WaitAPI(ctx context.Context) error {
	return poll(ctx, "the API server", func(ctx context.Context) (bool, error) {
		_, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, err
	})
}

// upRuntime starts containerd and loads the images.
func (c *Cluster) upRuntime(ctx context.Context) error {
	if err := c.node.Start(c.parts["containerd"]); err != nil {
		return err
	}
	err := poll(ctx, "containerd", func(ctx context.Context) (bool, error) {
		err := c.ctr(ctx, "version")
		return err == nil, err
	})
	if err != nil {
		return err
	}
	for _, i := range Images {
		if err := c.loadImage(ctx, i.archive()); err != nil {
			return err
		}
	}
	c.log("containerd has the images")
	return nil
}

func (c *Cluster) ctr(ctx context.Context, args ...string) error {
	args = append([]string{"--address", c.path("containerd.sock"), "--namespace", "k8s.io"}, args...)
	out, err := exec.CommandContext(ctx, "ctr", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (c *Cluster) loadImage(ctx context.Context, archive string) error {
	return c.ctr(ctx, "images", "import", archive)
}

// upNode starts the parts that run pods and waits until DNS answers.
func (c *Cluster) upNode(ctx context.Context) error {
	if ctx.Err() != nil || c.client == nil {
		return ctx.Err()
	}
	for _, name := range []string{"kube-controller-manager", "kube-scheduler", "kubelet"} {
		if err := c.node.Start(c.parts[name]); err != nil {
			return err
		}
	}
	// kube-proxy looks for its node once, and then waits half a minute before it tries again.
	if err := poll(ctx, "the node", c.nodeIs(func(*corev1.Node) bool { return true })); err != nil {
		return err
	}
	if err := c.node.Start(c.parts["kube-proxy"]); err != nil {
		return err
	}
	if err := c.applyDNS(ctx, c.opts.Corefile); err != nil {
		return err
	}
	if err := poll(ctx, "the node to be ready", c.nodeIs(ready)); err != nil {
		return err
	}
	c.log("the node is ready")
	if err := c.waitDNS(ctx); err != nil {
		return err
	}
	c.log("DNS answers, the cluster is up")
	return nil
}

func (c *Cluster) nodeIs(ok func(*corev1.Node) bool) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		n, err := c.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		return err == nil && ok(n), err
	}
}

func ready(n *corev1.Node) bool {
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

// logf prints progress with the time of day.
func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s cluster: %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// tail is the number of lines of each log that CI prints.
const tail = 30

// printLogs prints the end of each log if CI=true, because the folder is lost after the run.
func (c *Cluster) printLogs() {
	if os.Getenv("CI") != "true" {
		return
	}
	files, _ := filepath.Glob(c.path("log/*.log"))
	pods, _ := filepath.Glob(c.path(failedPods + "/*/*/*.log"))
	for _, file := range append(files, pods...) {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		lines = lines[max(0, len(lines)-tail):]
		fmt.Fprintf(os.Stderr, "--- %s\n%s\n", strings.TrimPrefix(file, c.Dir+"/"), strings.Join(lines, "\n"))
	}
}
