package kube

import (
	"fmt"
	"math/rand"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/peers"
)

func pod(name, addr string, change ...func(*discovery.EndpointConditions)) discovery.Endpoint {
	e := discovery.Endpoint{
		Addresses: []string{addr}, TargetRef: &core.ObjectReference{Kind: "Pod", Name: name, UID: types.UID("uid-" + name)},
	}
	for _, f := range change {
		f(&e.Conditions)
	}
	return e
}

func ptr(e discovery.Endpoint) *discovery.Endpoint { return &e }

func ready(v bool) func(*discovery.EndpointConditions) {
	return func(c *discovery.EndpointConditions) { c.Ready = &v }
}

func serving(v bool) func(*discovery.EndpointConditions) {
	return func(c *discovery.EndpointConditions) { c.Serving = &v }
}

func terminating(c *discovery.EndpointConditions) { yes := true; c.Terminating = &yes }

func TestConditions(t *testing.T) {
	for name, tc := range map[string]struct {
		of   discovery.Endpoint
		want string
	}{
		"without conditions":         {pod("a", "10.0.0.1"), "a [10.0.0.1]"},
		"ready":                      {pod("a", "10.0.0.1", ready(true), serving(true)), "a [10.0.0.1]"},
		"not ready":                  {pod("a", "10.0.0.1", ready(false), serving(false)), ""},
		"terminating, still serving": {pod("a", "10.0.0.1", ready(false), serving(true), terminating), "a [10.0.0.1] terminating"},
		"terminating, published":     {pod("a", "10.0.0.1", ready(true), serving(true), terminating), "a [10.0.0.1] terminating"},
		"published, not serving":     {pod("a", "10.0.0.1", ready(true), serving(false)), "a [10.0.0.1] unproven"},
		"without a pod":              {discovery.Endpoint{Addresses: []string{"10.0.0.1"}}, " [10.0.0.1]"},
		"without an address":         {discovery.Endpoint{}, ""},
		"invalid address":            {pod("a", "10.0.0.300"), ""},
		"unspecified address":        {pod("a", "::"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := text(listed(gather(map[string]*slice{"x": toSlice(sliceOf("x", "IPv4", tc.of))})))
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func text(all []peers.Member) string {
	var parts []string
	for _, m := range all {
		s := fmt.Sprintf("%s %v", m.Pod, m.Addrs)
		if m.Terminating {
			s += " terminating"
		}
		if m.Unproven {
			s += " unproven"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

// However pods are distributed and repeated over slices, each must count once.
func TestEachPodCountsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "pods")
		var all []discovery.Endpoint
		var want []string
		for i := range n {
			name := fmt.Sprintf("pod-%02d", i)
			v4, v6 := fmt.Sprintf("10.0.0.%d", i+1), fmt.Sprintf("fd00::%x", i+1)
			all = append(all, pod(name, v4), pod(name, v6))
			want = append(want, fmt.Sprintf("%s [%s %s]", name, v4, v6))
		}
		slices := map[string]*slice{}
		for i, k := 0, rapid.IntRange(1, 6).Draw(t, "slices"); i < k; i++ {
			slices[fmt.Sprint(i)] = &slice{version: uint64(rapid.IntRange(0, 3).Draw(t, "version"))}
		}
		rand.New(rand.NewSource(rapid.Int64().Draw(t, "order"))).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i := range all {
			e, _ := toEndpoint(&all[i])
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				s := slices[fmt.Sprint(rapid.IntRange(0, len(slices)-1).Draw(t, "where"))]
				s.endpoints = append(s.endpoints, e)
			}
		}
		if got := text(listed(gather(slices))); got != strings.Join(want, "; ") {
			t.Fatalf("got  %s\nwant %s", got, strings.Join(want, "; "))
		}
	})
}

// If two slices have the same pod, the newer one counts. An address belongs to one pod.
func TestNewestSliceCounts(t *testing.T) {
	stops, _ := toEndpoint(ptr(pod("a", "10.0.0.1", ready(false), terminating)))
	before, _ := toEndpoint(ptr(pod("a", "10.0.0.1", ready(true))))
	heir, _ := toEndpoint(ptr(pod("b", "10.0.0.1", ready(true))))
	got := listed(gather(map[string]*slice{"1": {version: 5, endpoints: []endpoint{stops}}, "2": {version: 4, endpoints: []endpoint{before}}}))
	if text(got) != "a [10.0.0.1] terminating" {
		t.Errorf("got %s, want a terminating pod as in the newer slice", text(got))
	}
	got = listed(gather(map[string]*slice{"1": {version: 5, endpoints: []endpoint{stops, heir}}}))
	if text(got) != "b [10.0.0.1]" {
		t.Errorf("got %s, want the address to belong to b", text(got))
	}
}

func TestChangesAreReported(t *testing.T) {
	a := newAPIServer(t)
	w := watchWith(t, a.URL, nil)
	w.untilErr("no EndpointSlice", `"shop"`, "kubernetes.io/service-name=hello", "check that the Service exists")
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1"), pod("b", "10.0.0.2")))
	if m := w.untilPods(2); m.ClientName != "hello.shop.svc" {
		t.Errorf("ClientName is %q, want hello.shop.svc", m.ClientName)
	}
	a.put(sliceOf("two", "IPv6", pod("b", "fd00::2"), pod("c", "fd00::3")))
	m := w.untilPods(3)
	if got := text(m.Members); got != "a [10.0.0.1]; b [10.0.0.2 fd00::2]; c [fd00::3]" {
		t.Error(got)
	}
	for range 5 {
		if again := <-w.views; again.Err != nil || !reflect.DeepEqual(again.Members, m.Members) {
			t.Fatalf("the view was not renewed unchanged: %+v", again)
		}
	}
}

func TestErrorsNameTheCauseAndEndWithIt(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		want []string
	}{
		"role":      {403, []string{"cannot list EndpointSlices", `"shop"`, `lacks the verb "list"`, "system:serviceaccount:shop:web", "discovery.k8s.io", "watch"}},
		"token":     {401, []string{"401", "service account"}},
		"namespace": {404, []string{"404", "check that the namespace exists"}},
		"expired":   {410, []string{"410"}},
		"broken":    {500, []string{"answers 500"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPIServer(t)
			a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
			a.set(verbList, tc.code)
			w := watchWith(t, a.URL, nil)
			w.untilErr(tc.want...)
			a.set(verbList, 0)
			w.untilPods(1)
		})
	}
}

func TestWithoutTheVerbWatchTheSourceLists(t *testing.T) {
	a := newAPIServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	a.set(verbWatch, 403)
	w := watchWith(t, a.URL, nil)
	warned := func(m peers.Membership) bool {
		return m.Err == nil && len(m.Members) == 1 && strings.Contains(m.Warning, "cannot watch EndpointSlices") &&
			strings.Contains(m.Warning, `lacks the verb "watch"`)
	}
	for range 3 {
		w.until("a warning", warned)
	}
	a.put(sliceOf("two", "IPv4", pod("b", "10.0.0.2")))
	w.untilPods(2)
	a.set(verbWatch, 0)
	w.until("no warning", func(m peers.Membership) bool { return m.Warning == "" && len(m.Members) == 2 })
}

func TestWatchesThatBreak(t *testing.T) {
	gone := `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old"}}`
	for name, say := range map[string]string{"cut": "", "expired": gone, "garbage": "\x00\xff{{{"} {
		t.Run(name, func(t *testing.T) {
			a := newAPIServer(t)
			a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
			w := watchWith(t, a.URL, nil)
			w.untilPods(1)
			a.nextWatch(t)
			a.say(say)
			a.put(sliceOf("two", "IPv4", pod("b", "10.0.0.2"))) // lost with the stream
			a.say("")
			w.untilPods(2)
		})
	}
}

func TestLostServerIsReportedAndTheViewNotRenewed(t *testing.T) {
	a := newAPIServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	w := watchWith(t, a.URL, nil)
	w.untilPods(1)
	a.Listener.Close() // first, so that no client can reconnect
	a.CloseClientConnections()
	w.untilErr("cannot be reached", "connection refused")
	for range 5 {
		if m := <-w.views; m.Err == nil {
			t.Fatalf("the view was renewed without a server: %+v", m)
		}
	}
}

// client-go takes a watch without an answer for one without events.
func TestAWatchThatDoesNotOpenRenewsNothing(t *testing.T) {
	a := newAPIServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	w := watchWith(t, a.URL, nil)
	w.untilPods(1)
	a.nextWatch(t)
	a.set(verbWatch, cut)
	a.say("")
	w.untilErr("closes the connection without an answer")
	for range 20 {
		if m := <-w.views; m.Err == nil {
			t.Fatalf("the view was renewed without a watch: %+v", m)
		}
	}
	a.set(verbWatch, 0)
	w.untilPods(1)
}

func TestNew(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := New(Options{Service: "hello", Kubeconfig: missing}); err == nil ||
		!strings.Contains(err.Error(), "peers.kubernetes.kubeconfig: "+missing) {
		t.Error(err)
	}
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "peers.kubernetes.service") {
		t.Error(err)
	}
	if _, err := New(Options{Service: "hello"}); err != nil {
		t.Error("a server outside a pod must start, but New returned", err)
	}
}

func TestMissingTokenIsReportedByRun(t *testing.T) {
	run := func(in map[string]string) *watched {
		return watchWith(t, closedPort(t), func(s *Source) {
			s.opts.Kubeconfig = ""
			s.env.get = func(k string) string { return in[k] }
		})
	}
	run(map[string]string{"POD_NAMESPACE": "shop"}).untilErr("does not run in a pod", "peers.kubernetes.kubeconfig")
	run(map[string]string{"POD_NAMESPACE": "shop", "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}).
		untilErr("no service account token", "automountServiceAccountToken")
}
