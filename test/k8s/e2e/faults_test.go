//go:build linux && e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// role is the release's Role with its RoleBinding. The verbs are a parameter.
const role = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: slices}
rules: [{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [%s]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: slices}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: slices}
subjects: [{kind: ServiceAccount, name: hello}]
`

const lateService = `
apiVersion: v1
kind: Service
metadata: {name: late}
spec:
  clusterIP: None
  selector: {app.kubernetes.io/instance: hello}
  ports: [{name: grpc, port: 50051}]
`

// If a part is missing, pods must name it, move nothing, and recover by themselves once it is
// there.
func TestMissingPartsAreNamed(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	for _, tt := range []struct {
		name     string
		settings []string
		words    []string // the pods' sentences must contain these
		mend     func(t *testing.T, r *release)
	}{
		{
			name: "no right to watch", settings: []string{"rbac.create=false"},
			words: []string{"watch", "endpointslices"},
			mend:  func(t *testing.T, r *release) { c.Apply(t, r.ns, fmt.Sprintf(role, "list, watch")) },
		},
		{
			name: "no Service", settings: []string{"evenkeel.peers.kubernetes.service=late"},
			words: []string{"late", "check that the Service exists"},
			mend:  func(t *testing.T, r *release) { c.Apply(t, r.ns, lateService) },
		},
		{
			name: "no token", settings: []string{"serviceAccount.automountToken=false"},
			words: []string{"token"},
			mend: func(t *testing.T, r *release) {
				r.helm(t, "upgrade", "serviceAccount.automountToken=true")
				c.WaitRollout(t, r.ns, "hello")
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := install(t, c, 2, tt.settings...)
			if tt.name == "no right to watch" {
				c.Apply(t, r.ns, fmt.Sprintf(role, "list"))
			}
			load := r.load(t)
			before := sent(t, c, r.pods(t))
			waitText(t, c, r.pods(t), tt.words...)
			noneSent(t, c, r.pods(t), before)
			tt.mend(t, r)
			waitHealthy(t, c, r.pods(t))
			noFailures(t, load)
		})
	}
}

// awayFor is how long the API server stays down.
const awayFor = time.Minute

// The API server and its etcd crash and stay down. Then a watch is cut off for so long that
// the history it would resume from is gone. The pods must report what they do not know, move
// nothing, and recover by themselves. The test has a cluster of its own, because Kubernetes
// itself, including its DNS, needs time to recover.
func TestAPIServerAway(t *testing.T) {
	c := cluster.Up(t, cluster.Options{})
	r := install(t, c, 2)
	load := r.load(t)
	pods := r.pods(t)
	waitHealthy(t, c, pods)
	before := sent(t, c, pods)

	kill(t, c, "kube-apiserver", "etcd")
	gone := time.Now()
	waitText(t, c, pods, "API server")
	time.Sleep(time.Until(gone.Add(awayFor))) // the outage itself
	start(t, c, "etcd", "kube-apiserver")
	waitRelisted(t, c, r, len(pods))
	waitHealthy(t, c, pods)
	noneSent(t, c, pods, before)

	t.Run("watch expires", func(t *testing.T) { expire(t, c, r, pods, before) })
	noFailures(t, load)
}

// waitRelisted waits until Kubernetes itself has recovered. After such an outage it considers
// the node lost and its pods not ready. The controllers back off for minutes after a failure,
// which is not under test, so waitRelisted restarts them.
func waitRelisted(t *testing.T, c *cluster.Cluster, r *release, pods int) {
	t.Helper()
	kill(t, c, "kube-controller-manager")
	start(t, c, "kube-controller-manager")
	c.Eventually(t, "the pods are listed as ready again", 3*time.Minute, func(ctx context.Context) (bool, error) {
		n, err := c.ReadyEndpoints(ctx, r.ns, "hello-headless")
		return n == pods, cmp.Or(err, fmt.Errorf("%d pods are ready", n))
	})
}

// expire compacts etcd and restarts the API server, which then has an empty history. The pods'
// watches must start again with a list.
func expire(t *testing.T, c *cluster.Cluster, r *release, pods []cluster.Pod, before map[string]int) {
	t.Helper()
	kill(t, c, "kube-apiserver")
	compact(t, c)
	start(t, c, "kube-apiserver")
	waitHealthy(t, c, pods)
	noneSent(t, c, pods, before)
	// If the watches work, the pods see a new pod.
	c.Kubectl(t, "-n", r.ns, "scale", "deploy/hello", "--replicas=3")
	c.WaitRollout(t, r.ns, "hello")
	for _, newcomer := range r.pods(t) {
		waitKnown(t, c, pods, newcomer.Name)
	}
}

// waitKnown waits until all other pods have the named pod among their ready peers.
func waitKnown(t *testing.T, c *cluster.Cluster, pods []cluster.Pod, name string) {
	t.Helper()
	c.Eventually(t, name+" is known to all pods", time.Minute, func(ctx context.Context) (bool, error) {
		for _, p := range pods {
			s, err := c.TryStatus(ctx, p)
			if err != nil {
				return false, err
			}
			if p.Name != name && !s.Knows(name) {
				return false, fmt.Errorf("%s knows only %v", p.Name, s.Peers)
			}
		}
		return true, nil
	})
}

// compact deletes etcd's history through its JSON gateway.
func compact(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	var response struct {
		Header struct{ Revision string }
	}
	etcd(t, c, "/v3/kv/range", `{"key":"AA=="}`, &response)
	etcd(t, c, "/v3/kv/compaction", fmt.Sprintf(`{"revision":%q,"physical":true}`, response.Header.Revision), &struct{}{})
	t.Logf("compacted at revision %s", response.Header.Revision)
}

// etcd posts a JSON request to etcd and decodes the response.
func etcd(t *testing.T, c *cluster.Cluster, path, request string, response any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:2379"+path, bytes.NewReader([]byte(request)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("etcd %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(response); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, c *cluster.Cluster, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err := c.Kill(part); err != nil {
			t.Fatal(err)
		}
	}
}

func start(t *testing.T, c *cluster.Cluster, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err := c.Start(part); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.WaitAPI(ctx); err != nil {
		t.Fatal(err)
	}
}
