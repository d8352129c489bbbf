package kube

import (
	"fmt"
	"strings"
	"testing"

	discovery "k8s.io/api/discovery/v1"

	"github.com/evenkeel-go/evenkeel/peers"
)

// in puts an endpoint into a zone, with a hint for others.
func in(e discovery.Endpoint, zone string, hints ...string) discovery.Endpoint {
	e.Zone = &zone
	if len(hints) > 0 {
		e.Hints = &discovery.EndpointHints{}
		for _, z := range hints {
			e.Hints.ForZones = append(e.Hints.ForZones, discovery.ForZone{Name: z})
		}
	}
	return e
}

func forNode(e discovery.Endpoint) discovery.Endpoint {
	e.Hints.ForNodes = []discovery.ForNode{{Name: "node"}}
	return e
}

func zonesOf(members []peers.Member) string {
	var parts []string
	for _, m := range members {
		parts = append(parts, fmt.Sprintf("%s in %s for %s", m.Pod, m.NodeZone, m.Zone))
	}
	return strings.Join(parts, "; ")
}

// kube-proxy follows hints only if all ready endpoints have them. A pod that serves several
// zones or a node is tied to no zone.
func TestHintsCountOnlyIfAllHaveThem(t *testing.T) {
	a := in(pod("a", "10.0.0.1"), "z1", "z1")
	for name, tc := range map[string]struct {
		other discovery.Endpoint
		want  string
	}{
		"all":               {in(pod("b", "10.0.0.2"), "z2", "z3"), "a in z1 for z1; b in z2 for z3"},
		"none for one":      {in(pod("b", "10.0.0.2"), "z2"), "a in z1 for ; b in z2 for "},
		"several zones":     {in(pod("b", "10.0.0.2"), "z2", "z1", "z2"), "a in z1 for ; b in z2 for "},
		"for a node":        {forNode(in(pod("b", "10.0.0.2"), "z2", "z2")), "a in z1 for ; b in z2 for "},
		"terminating":       {in(pod("b", "10.0.0.2", ready(false), terminating), "z2"), "a in z1 for z1; b in z2 for "},
		"not ready":         {in(pod("b", "10.0.0.2", ready(false)), "z2"), "a in z1 for z1"},
		"without any zones": {pod("b", "10.0.0.2"), "a in z1 for ; b in  for "},
	} {
		t.Run(name, func(t *testing.T) {
			got := zonesOf(listed(gather(map[string]*slice{
				"1": toSlice(sliceOf("1", "IPv4", a)), "2": toSlice(sliceOf("2", "IPv4", tc.other)),
			})))
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// A change of the hints alone is a change of the view.
func TestHintsAreFollowed(t *testing.T) {
	a := newAPIServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	w := watchWith(t, a.URL, nil)
	w.untilPods(1)
	a.put(sliceOf("one", "IPv4", in(pod("a", "10.0.0.1"), "z1", "z1")))
	w.until("a zone", func(m peers.Membership) bool { return m.Err == nil && m.Members[0].Zone == "z1" })
	a.put(sliceOf("one", "IPv4", in(pod("a", "10.0.0.1"), "z1")))
	w.until("no zone", func(m peers.Membership) bool { return m.Err == nil && m.Members[0].Zone == "" })
}
