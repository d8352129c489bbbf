//go:build e2e && linux

// Package chart_test runs the Helm chart on a real Kubernetes. The chart's own tests only
// render it.
package chart_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// image returns the flags with which helm installs the example server of this checkout.
func image() []string {
	return []string{"--set", "image.repository=" + cluster.ServerRepository, "--set", "image.tag=" + cluster.ImageTag, "--set", "image.pullPolicy=Never"}
}

func helm(t *testing.T, c *cluster.Cluster, args ...string) string {
	t.Helper()
	return c.Helm(t, append(args, image()...)...)
}

// withoutOperators removes the objects of operators that this cluster does not have.
func withoutOperators(manifests string) string {
	var out []string
	for doc := range strings.SplitSeq("\n"+manifests, "\n---") {
		if strings.TrimSpace(doc) != "" && !strings.Contains(doc, "\napiVersion: monitoring.coreos.com/") && !strings.Contains(doc, "\napiVersion: cert-manager.io/") {
			out = append(out, doc)
		}
	}
	return strings.Join(out, "\n---")
}

// TestManifestsAreAccepted renders the chart with all of its ci values. The API server must
// accept the objects: it validates ports, selectors, quantities and policies, which no schema
// can.
func TestManifestsAreAccepted(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	files, err := filepath.Glob(filepath.Join(cluster.Chart(), "ci", "*-values.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("got %d files of ci values, want at least 10: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), "-values.yaml"), func(t *testing.T) {
			accepted(t, c, c.Helm(t, "template", "hello", cluster.Chart(), "-n", c.Namespace(t), "-f", file))
		})
	}
}

// accepted fails t unless the API server accepts all objects in a dry run.
func accepted(t *testing.T, c *cluster.Cluster, manifests string) {
	t.Helper()
	if manifests = withoutOperators(manifests); manifests == "" {
		return // these values render nothing
	}
	path := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(path, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	out := c.Kubectl(t, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", path)
	if got, want := strings.Count(out, "serverside-applied"), strings.Count("\n"+manifests, "\nkind: "); got != want {
		t.Errorf("the API server accepted %d of %d objects:\n%s", got, want, out)
	}
}

// TestConsumer installs the example chart, which includes the named templates in its own
// Deployment.
func TestConsumer(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	root, ns := t.TempDir(), c.Namespace(t)
	charts := map[string]string{cluster.Chart(): "chart", filepath.Join(cluster.Chart(), "..", "example", "chart"): "example/chart"}
	for from, to := range charts {
		if err := os.CopyFS(filepath.Join(root, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(root, "example", "chart")
	c.Helm(t, "dependency", "update", dir)
	args := []string{dir, "-n", ns, "--set", "image=" + cluster.ServerTag}
	accepted(t, c, c.Helm(t, append([]string{"template", "a"}, args...)...))
	c.Helm(t, append([]string{"install", "a"}, args...)...)
	c.WaitRollout(t, ns, "a-shop")
	c.WaitEndpoints(t, ns, "a-shop-headless", 3)
}

// TestDefaults installs the chart with its defaults. All pods must see each other through the
// API server, and an upgrade must keep the number from `kubectl scale` and the salt.
func TestDefaults(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	ns := c.Namespace(t)
	helm(t, c, "install", "hello", cluster.Chart(), "-n", ns, "--set", "replicaCount=null", "--set", "peersSalt.create=true")
	c.Kubectl(t, "-n", ns, "scale", "deploy/hello", "--replicas=3")
	c.WaitRollout(t, ns, "hello")
	c.WaitEndpoints(t, ns, "hello-headless", 3)
	salt := c.Kubectl(t, "-n", ns, "get", "secret", "hello-salt", "-o", "jsonpath={.data.salt}")
	mayOnlyWatch(t, c, ns)
	waitVerdict(t, c, ns, "balanced")

	before := c.Kubectl(t, "-n", ns, "get", "deploy", "hello", "-o", "jsonpath={.metadata.generation}")
	helm(t, c, "upgrade", "hello", cluster.Chart(), "-n", ns, "--set", "replicaCount=null", "--set", "peersSalt.create=true",
		"--set", "evenkeel.rebalance.spread=3s")
	if after := c.Kubectl(t, "-n", ns, "get", "deploy", "hello", "-o", "jsonpath={.metadata.generation}"); after != before {
		t.Errorf("new settings changed the Deployment: its generation was %s and is %s", before, after)
	}
	if now := c.Kubectl(t, "-n", ns, "get", "secret", "hello-salt", "-o", "jsonpath={.data.salt}"); now != salt || now == "" {
		t.Error("the upgrade changed the salt")
	}
}

// mayOnlyWatch checks that the pods' account may list and watch EndpointSlices and nothing
// else.
func mayOnlyWatch(t *testing.T, c *cluster.Cluster, ns string) {
	t.Helper()
	for action, want := range map[string]string{
		"list endpointslices.discovery.k8s.io": "yes", "watch endpointslices.discovery.k8s.io": "yes",
		"get endpointslices.discovery.k8s.io": "no", "delete endpointslices.discovery.k8s.io": "no",
		"list pods": "no", "get secrets": "no", "list services": "no",
	} {
		args := append([]string{"-n", ns, "auth", "can-i", "--as=system:serviceaccount:" + ns + ":hello"}, strings.Fields(action)...)
		// The error only repeats the answer in the exit status.
		if got, _ := c.TryKubectl(t.Context(), args...); strings.TrimSpace(got) != want {
			t.Errorf("%s: got %q, want %s", action, got, want)
		}
	}
}

// waitVerdict waits until every pod has the verdict.
func waitVerdict(t *testing.T, c *cluster.Cluster, ns, verdict string) {
	t.Helper()
	pods := c.Pods(t, ns, "app.kubernetes.io/instance=hello")
	if len(pods) == 0 {
		t.Fatal("no pods")
	}
	for _, pod := range pods {
		var last struct {
			Verdict, Why string
			Conditions   []struct{ Code, Text string }
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the last status of %s was %+v", pod.Name, last)
			}
		})
		c.Eventually(t, pod.Name+" "+verdict, 30*time.Second, func(ctx context.Context) (bool, error) {
			body, err := c.TryGet(ctx, "http://"+pod.IP+":8080/statusz")
			if err == nil {
				err = json.Unmarshal(body, &last)
			}
			return last.Verdict == verdict, err
		})
	}
}

// TestTLS installs the ci values with TLS on both ports. The pods become ready only if the
// kubelet's probes use HTTPS. Over mutual TLS, the pods must answer each other.
func TestTLS(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	ns := c.Namespace(t)
	dir := certificates(t, "hello.pods.internal")
	for _, name := range []string{"hello-peers", "hello-grpc"} {
		c.Kubectl(t, "-n", ns, "create", "secret", "generic", name,
			"--from-file=tls.crt="+dir+"/tls.crt", "--from-file=tls.key="+dir+"/tls.key", "--from-file=ca.crt="+dir+"/tls.crt")
	}
	c.Kubectl(t, "-n", ns, "create", "secret", "generic", "hello-salt", "--from-literal=pepper=abc")
	helm(t, c, "install", "hello", cluster.Chart(), "-n", ns, "-f", filepath.Join(cluster.Chart(), "ci", "peers-tls-values.yaml"),
		"--set", "serviceMonitor.enabled=false")
	c.WaitRollout(t, ns, "hello")
	for _, pod := range c.Pods(t, ns, "app.kubernetes.io/instance=hello") {
		logs := c.Logs(t, ns, pod.Name, "server")
		if strings.Contains(logs, "peers-silent") || pod.Restarts > 0 {
			t.Errorf("%s restarted %d times or had silent peers:\n%s", pod.Name, pod.Restarts, logs)
		}
	}
}

// certificates writes a self-signed certificate for servers and clients, and returns its
// folder.
func certificates(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
