//go:build e2e

package experiment

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// Ports that the chart uses by default.
const (
	grpcPort   = 50051
	healthPort = 8080
)

// release is the name of the release, its Deployment and its Service.
const release = "hello"

// service is one release with clients of its own.
type service struct {
	c  *cluster.Cluster
	ns string
	// name is the fleet's name in the records. title is the head of its column.
	name, title string
	// set holds the chart's values in addition to those that all fleets have.
	set []string
	// dns is the DNS server of its pods and clients, empty for the cluster's own.
	dns string
	// corefile configures a DNS server of its own, if it is not empty.
	corefile string
	// image and target are those of the clients.
	image, target string
	lb            string
	pods          int // number of client pods
	channels      int // per client pod
	rate          float64
	byDNS         bool
	// gap is the time from one pod's readiness to the next. At 0 the pods have no gates, and
	// become ready as they come.
	gap time.Duration
	// opened is how many gates have been opened.
	opened int
}

// headless returns the target of round_robin clients.
func headless(ns string) string {
	return fmt.Sprintf("dns:///%s-headless.%s.svc.cluster.local:%d", release, ns, grpcPort)
}

// clusterIP returns the target of single-homed clients.
func clusterIP(ns string) string {
	return fmt.Sprintf("dns:///%s.%s.svc.cluster.local:%d", release, ns, grpcPort)
}

// watched returns the target of kuberesolver's clients.
func watched(ns string) string {
	return fmt.Sprintf("kubernetes:///%s-headless.%s:%d", release, ns, grpcPort)
}

// install installs the release with its initial number of replicas.
func (s *service) install(t *testing.T, replicas int) {
	t.Helper()
	first := replicas
	if s.gap > 0 {
		first = 0
	}
	args := []string{
		"install", release, cluster.Chart(), "-n", s.ns,
		"--set", fmt.Sprintf("replicaCount=%d", first),
		"--set", "image.repository=" + cluster.ServerRepository, "--set", "image.tag=" + cluster.ImageTag,
		"--set", "image.pullPolicy=Never",
		// The requests are small, because many pods share a small machine.
		"--set", "resources.requests.cpu=5m", "--set", "resources.requests.memory=8Mi",
	}
	if s.dns != "" {
		// These are the kubelet's values for resolv.conf, except the address.
		args = append(args, "--set", "dnsPolicy=None", "--set", "dnsConfig.nameservers={"+s.dns+"}",
			"--set", fmt.Sprintf("dnsConfig.searches={%s.svc.cluster.local,svc.cluster.local,cluster.local}", s.ns),
			"--set", "dnsConfig.options[0].name=ndots", "--set-string", "dnsConfig.options[0].value=5")
	}
	for _, one := range s.set {
		args = append(args, "--set", one)
	}
	s.c.Helm(t, args...)
	if s.gap > 0 {
		s.addGate(t, replicas)
	}
}

const clients = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: client}
---
# This Role is for kuberesolver. The other clients do not use it.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: client}
rules:
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: client}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: client}
subjects: [{kind: ServiceAccount, name: client}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  replicas: @PODS@
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      serviceAccountName: client
      terminationGracePeriodSeconds: 1
      dnsPolicy: @POLICY@
      dnsConfig: {nameservers: [@SERVERS@]}
      containers:
        - name: client
          image: "@IMAGE@"
          imagePullPolicy: Never
          args: [-target, "@TARGET@", -lb, "@LB@", -channels, "@CHANNELS@", -rate, "@RATE@", -json, -every, 100ms, -duration, "0"]
`

// startClients starts the clients. They make calls until their namespace is deleted.
func (s *service) startClients(t *testing.T) {
	t.Helper()
	policy := "ClusterFirst"
	if s.dns != "" {
		policy = "None"
	}
	s.c.Apply(t, s.ns, strings.NewReplacer(
		"@PODS@", fmt.Sprint(s.pods), "@POLICY@", policy, "@SERVERS@", s.dns, "@IMAGE@", s.image, "@TARGET@", s.target,
		"@LB@", s.lb, "@CHANNELS@", fmt.Sprint(s.channels), "@RATE@", fmt.Sprint(s.rate*float64(s.channels)),
	).Replace(clients))
}

func (s *service) watch(ctx context.Context, log *Log) {
	(&Watcher{
		Fleet: s.name, Namespace: s.ns, Service: release + "-headless", DNS: s.dnsServer(), HealthPort: healthPort,
		Client: s.c.Client(), Dial: s.c.DialContext, Log: log,
	}).Run(ctx)
}

// dnsServer returns the address and port of the DNS server that its clients query.
func (s *service) dnsServer() string { return cmp.Or(s.dns, clusterDNS) + ":53" }

// awaitDNS waits until DNS answers with all pods. A cache may still hold an answer with fewer.
func (s *service) awaitDNS(t *testing.T, pods int) {
	t.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return s.c.DialContext(ctx, network, s.dnsServer())
	}}
	s.c.Eventually(t, "DNS answers in full for fleet "+s.name, time.Minute, func(ctx context.Context) (bool, error) {
		found, err := r.LookupNetIP(ctx, "ip4", fmt.Sprintf("%s-headless.%s.svc.cluster.local.", release, s.ns))
		return len(found) == pods, err
	})
}

// readLogs adds the clients' output to the log.
func (s *service) readLogs(t *testing.T, log *Log) {
	t.Helper()
	for _, pod := range s.c.Pods(t, s.ns, "app=client") {
		if pod.Restarts > 0 {
			t.Errorf("%s: client %s restarted %d times", s.name, pod.Name, pod.Restarts)
		}
		if err := log.AddClient(s.name, pod.Name, strings.NewReader(s.c.Logs(t, s.ns, pod.Name, "client"))); err != nil {
			t.Errorf("%s: client %s: %v", s.name, pod.Name, err)
		}
	}
}

// clusterDNS is the address of the cluster's own CoreDNS.
const clusterDNS = "198.19.0.10"

// secondDNS runs another CoreDNS next to the cluster's own, and returns its address.
func secondDNS(t *testing.T, c *cluster.Cluster, name, corefile string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const ns = "kube-system"
	made := metav1.ObjectMeta{Name: name, Namespace: ns}
	config := &corev1.ConfigMap{ObjectMeta: made, Data: map[string]string{"Corefile": corefile}}
	_, err := c.Client().CoreV1().ConfigMaps(ns).Create(ctx, config, metav1.CreateOptions{})
	noError(t, err)
	d, err := c.Client().AppsV1().Deployments(ns).Get(ctx, "coredns", metav1.GetOptions{})
	noError(t, err)
	labels := map[string]string{"app": name}
	d.ObjectMeta = made
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
	for i := range d.Spec.Template.Spec.Volumes {
		if m := d.Spec.Template.Spec.Volumes[i].ConfigMap; m != nil {
			m.Name = name
		}
	}
	_, err = c.Client().AppsV1().Deployments(ns).Create(ctx, d, metav1.CreateOptions{})
	noError(t, err)
	svc, err := c.Client().CoreV1().Services(ns).Get(ctx, "kube-dns", metav1.GetOptions{})
	noError(t, err)
	svc, err = c.Client().CoreV1().Services(ns).Create(ctx, &corev1.Service{
		ObjectMeta: made, Spec: corev1.ServiceSpec{Selector: labels, Ports: svc.Spec.Ports},
	}, metav1.CreateOptions{})
	noError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = c.Client().CoreV1().Services(ns).Delete(ctx, name, metav1.DeleteOptions{})
		_ = c.Client().AppsV1().Deployments(ns).Delete(ctx, name, metav1.DeleteOptions{})
		_ = c.Client().CoreV1().ConfigMaps(ns).Delete(ctx, name, metav1.DeleteOptions{})
	})
	c.WaitRollout(t, ns, name)
	return svc.Spec.ClusterIP
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
