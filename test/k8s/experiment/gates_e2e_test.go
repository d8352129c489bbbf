//go:build e2e

package experiment

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// gate is the condition that a pod of a gated release needs to become ready, besides its
// containers. So a test decides when each pod becomes ready, to a few milliseconds.
const gate = "e2e.local/open"

// addGate adds the gate to the pods of a release that has none yet, and starts them.
func (s *service) addGate(t *testing.T, replicas int) {
	t.Helper()
	s.c.Kubectl(t, "-n", s.ns, "patch", "deploy/"+release, "--type=merge", "-p", fmt.Sprintf(
		`{"spec":{"replicas":%d,"template":{"spec":{"readinessGates":[{"conditionType":%q}]}}}}`, replicas, gate))
}

// closed returns the pods whose containers are ready and whose gate is closed.
func (s *service) closed(ctx context.Context) ([]string, error) {
	list, err := s.c.Client().CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + release})
	if err != nil {
		return nil, err
	}
	var pods []string
	for i := range list.Items {
		is := map[corev1.PodConditionType]bool{}
		for _, c := range list.Items[i].Status.Conditions {
			is[c.Type] = c.Status == corev1.ConditionTrue
		}
		if is[corev1.ContainersReady] && !is[gate] {
			pods = append(pods, list.Items[i].Name)
		}
	}
	return pods, nil
}

// awaitClosed waits until n pods are ready but for their gates.
func (s *service) awaitClosed(t *testing.T, n int) (pods []string) {
	t.Helper()
	what := fmt.Sprintf("%d pods of fleet %s are ready but for their gates", n, s.name)
	s.c.Eventually(t, what, time.Minute, func(ctx context.Context) (_ bool, err error) {
		pods, err = s.closed(ctx)
		return len(pods) == n, err
	})
	return pods
}

// open opens the gates of the pods one after the other, gap apart.
func (s *service) open(ctx context.Context, pods []string, gap time.Duration) error {
	for i, pod := range pods {
		if i > 0 {
			time.Sleep(gap) // this time is under test; it synchronizes nothing
		}
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"True"}]}}`, gate)
		_, err := s.c.Client().CoreV1().Pods(s.ns).Patch(ctx, pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("pod %s: %w", pod, err)
		}
	}
	return nil
}

// openAll makes the pods of the gated fleets ready, so that each fleet has n. The first ones
// become ready once the containers of all fleets are.
func openAll(t *testing.T, fleets []*service, n int, staggered bool) {
	t.Helper()
	pods := map[*service][]string{}
	for _, s := range fleets {
		if s.gap > 0 {
			pods[s] = s.awaitClosed(t, n-s.opened)
			s.opened = n
		}
	}
	var opening sync.WaitGroup
	defer opening.Wait()
	for s, of := range pods {
		gap := s.gap
		if !staggered {
			gap = 0
		}
		opening.Go(func() {
			if err := s.open(t.Context(), of, gap); err != nil {
				t.Errorf("fleet %s: %v", s.name, err)
			}
		})
	}
}

// The staggered growth. Resolvers rest for 30 s after the clients' first lookup.
const (
	staggerRest = 28 * time.Second
	staggerGrow = 16 * time.Second
)

// behind is by how much evenkeel may be later than kuberesolver's clients. Those watch the
// API server; DNS is part of evenkeel's time.
const behind = 300 * time.Millisecond

// TestStaggered is the growth of the article's experiment, from 2 to 5 pods, with pods that
// become ready one after the other. Each fleet has one client pod, so that all fleets can run
// at the same time.
func TestStaggered(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	var fleets []*service
	for _, kind := range []service{
		{name: "kuberesolver", title: "kuberesolver's client", gap: 3 * time.Second, image: kuberesolverTag, set: bare("-bare")},
		{name: "evenkeel", title: "evenkeel", gap: 300 * time.Millisecond},
		{name: "evenkeel", title: "evenkeel", gap: 3 * time.Second},
		{name: "evenkeel", title: "evenkeel", gap: 10 * time.Second},
		{name: "bydns", title: "evenkeel with source `dns`", gap: 3 * time.Second, set: []string{"evenkeel.peers.source=dns"}},
	} {
		s := kind
		s.c, s.ns = c, c.Namespace(t)
		s.name, s.title = fmt.Sprintf("%s-%v", s.name, s.gap), fmt.Sprintf("%s, %v apart", s.title, s.gap)
		s.lb, s.pods, s.channels, s.rate = "round_robin", 1, channelsEach, channelRate
		if s.byDNS = s.image == ""; s.byDNS {
			s.target, s.image = headless(s.ns), loadTag
		} else {
			s.target = watched(s.ns)
		}
		fleets = append(fleets, &s)
	}
	log := &Log{}
	stage(t, fleets, log, func() {
		enter(t, fleets, log, PhaseRest, 2, staggerRest)
		enter(t, fleets, log, PhaseGrow, 5, staggerGrow)
	})
	results := measure(t, fleets, collect(t, fleets, log))
	t.Logf("staggered:\n%s", StaggerTable(results))
	if write {
		noError(t, WriteBetween(docs, "staggered", StaggerTable(results)))
	}
	for i, f := range fleets {
		if f.byDNS {
			checkPromises(t, f, &results[i])
		}
		if strings.HasPrefix(f.name, "evenkeel") {
			checkBehind(t, &results[i], &results[0])
		}
	}
}

// checkBehind compares evenkeel with the clients of kuberesolver in the same run. Times are known
// to one interval of the clients' reports.
func checkBehind(t *testing.T, evenkeel, resolver *Result) {
	t.Helper()
	for _, phase := range []string{PhaseGrow, PhaseRegrow} {
		e, r := evenkeel.Figures[phase].Growth, resolver.Figures[phase].Growth
		if e == nil || r == nil {
			continue
		}
		if e.Even < 0 || r.Even < 0 || e.Even > r.Even+behind+Interval {
			t.Errorf("%s: %s: even after %v, %s after %v, want at most %v later", phase, evenkeel.Title, e.Even, resolver.Title, r.Even, behind)
		}
	}
}
