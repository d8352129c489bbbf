//go:build e2e

// Package api tests the source of peers with a real etcd and API server.
package api

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/peers/kube"
	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// view is a membership and the time of its arrival.
type view struct {
	peers.Membership

	at time.Time
}

// watchAs runs a source with the rights of a user, or of the administrator if user is empty.
func watchAs(t *testing.T, c *cluster.Cluster, ns, user string) chan view {
	t.Helper()
	cfg, err := clientcmd.LoadFromFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		for _, a := range cfg.AuthInfos {
			a.Impersonate = user
		}
	}
	s, err := kube.New(kube.Options{Namespace: ns, Service: "hello", Kubeconfig: write(t, cfg)})
	if err != nil {
		t.Fatal(err)
	}
	views := make(chan view, 10_000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(m peers.Membership) { views <- view{m, time.Now()} }) }()
	t.Cleanup(func() { cancel(); <-done })
	return views
}

func write(t *testing.T, cfg *clientcmdapi.Config) string {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// until returns the first view that fits. It fails t if none comes within a minute.
func until(t *testing.T, views chan view, what string, fits func(view) bool) view {
	t.Helper()
	deadline := time.After(time.Minute)
	var last view
	for {
		select {
		case last = <-views:
			if fits(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("no view has %s; the last was %+v", what, last)
		}
	}
}

func pods(n int) func(view) bool {
	return func(v view) bool { return v.Err == nil && len(v.Members) == n }
}

func failing(text string) func(view) bool {
	return func(v view) bool { return v.Err != nil && strings.Contains(v.Err.Error(), text) }
}

// put applies an EndpointSlice with n ready pods.
func put(t *testing.T, c *cluster.Cluster, ns string, n int) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: hello-1\n"+
		"  labels: {kubernetes.io/service-name: hello, service.kubernetes.io/headless: \"\"}\naddressType: IPv4\nports: []\nendpoints:\n")
	for i := range n {
		fmt.Fprintf(&b, "- {addresses: [198.18.17.%d], conditions: {ready: true}, targetRef: {kind: Pod, name: hello-%d, uid: u%d}}\n", i+1, i, i)
	}
	c.Apply(t, ns, b.String())
}

// role grants the verbs on EndpointSlices to the service account web.
func role(t *testing.T, c *cluster.Cluster, ns, verbs string) {
	t.Helper()
	c.Apply(t, ns, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: peers}
rules:
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [%s]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: peers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: peers}
subjects:
- {kind: ServiceAccount, name: web, namespace: %s}
`, verbs, ns))
}

func TestServiceThatComesLater(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{Level: cluster.APIOnly})
	ns := c.Namespace(t)
	views := watchAs(t, c, ns, "")
	until(t, views, "no slices", failing("no EndpointSlice"))
	put(t, c, ns, 2)
	if v := until(t, views, "2 pods", pods(2)); !strings.HasPrefix(v.ClientName, "hello."+ns+".svc") {
		t.Errorf("ClientName is %q, want hello.%s.svc...", v.ClientName, ns)
	}
	before := time.Now()
	put(t, c, ns, 5)
	v := until(t, views, "5 pods", pods(5))
	t.Logf("5 pods seen %v after kubectl started, %v after it ended", v.at.Sub(before), time.Until(v.at))
}

func TestRoleWithoutVerbs(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{Level: cluster.APIOnly})
	ns := c.Namespace(t)
	put(t, c, ns, 2)
	views := watchAs(t, c, ns, "system:serviceaccount:"+ns+":web")
	until(t, views, "the verb list named", failing(`lacks the verb "list"`))
	role(t, c, ns, "list")
	until(t, views, "a warning that names the verb watch", func(v view) bool {
		return pods(2)(v) && strings.Contains(v.Warning, `lacks the verb "watch"`)
	})
	put(t, c, ns, 3)
	until(t, views, "3 pods", pods(3))
	role(t, c, ns, "list, watch")
	until(t, views, "no warning", func(v view) bool { return pods(3)(v) && v.Warning == "" })
}

func TestAPIServerGone(t *testing.T) {
	c := cluster.Up(t, cluster.Options{Level: cluster.APIOnly})
	ns := c.Namespace(t)
	put(t, c, ns, 2)
	views := watchAs(t, c, ns, "")
	until(t, views, "2 pods", pods(2))
	for _, name := range []string{"kube-apiserver", "etcd"} {
		if err := c.Kill(name); err != nil {
			t.Fatal(err)
		}
	}
	until(t, views, "an error", func(v view) bool { return v.Err != nil })
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := c.Start(name); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.WaitAPI(ctx); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	v := until(t, views, "2 pods again", pods(2))
	t.Logf("the view is back %v after the API server", v.at.Sub(back))
	put(t, c, ns, 4)
	until(t, views, "4 pods", pods(4))
}
