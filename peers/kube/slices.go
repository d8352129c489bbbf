package kube

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	discovery "k8s.io/api/discovery/v1"

	"github.com/evenkeel-go/evenkeel/peers"
)

// slice is the part of an EndpointSlice that is kept.
type slice struct {
	version   uint64 // of the resource; 0 if that is not a number
	headless  bool
	fqdn      bool
	endpoints []endpoint
}

// endpoint is a pod's address in one slice.
type endpoint struct {
	pod, uid    string
	addr        netip.Addr
	ready       bool
	terminating bool
	unproven    bool
	zone        string // of the node; empty if that is not known
	forZone     string // the zone of the hint; empty if there is none, or not one alone
}

// headlessLabel is a label of each slice of a headless Service.
const headlessLabel = "service.kubernetes.io/headless"

func toSlice(es *discovery.EndpointSlice) *slice {
	s := &slice{fqdn: es.AddressType == discovery.AddressTypeFQDN}
	s.version, _ = strconv.ParseUint(es.ResourceVersion, 10, 64)
	_, s.headless = es.Labels[headlessLabel]
	if s.fqdn {
		return s
	}
	s.endpoints = make([]endpoint, 0, len(es.Endpoints))
	for i := range es.Endpoints {
		if e, ok := toEndpoint(&es.Endpoints[i]); ok {
			s.endpoints = append(s.endpoints, e)
		}
	}
	return s
}

// toEndpoint reads the conditions as the API defines them. An absent condition ready means
// that the pod is ready. A terminating pod is never ready, unless its Service publishes
// addresses that are not ready. Only the condition serving counts then, and a pod that is
// not serving must prove itself. Addresses after the first have no meaning.
func toEndpoint(e *discovery.Endpoint) (endpoint, bool) {
	if len(e.Addresses) == 0 {
		return endpoint{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return endpoint{}, false
	}
	out := endpoint{
		addr:        addr.Unmap().WithZone(""),
		ready:       e.Conditions.Ready == nil || *e.Conditions.Ready,
		terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
		unproven:    e.Conditions.Serving != nil && !*e.Conditions.Serving,
	}
	if e.Zone != nil {
		out.zone = *e.Zone
	}
	out.forZone = hinted(e.Hints)
	if r := e.TargetRef; r != nil && r.Kind == "Pod" {
		out.pod, out.uid = r.Name, string(r.UID)
	}
	return out, true
}

// hinted returns the one zone whose clients a hint sends here. A hint for several zones, or
// for nodes, ties the pod to no zone.
func hinted(h *discovery.EndpointHints) string {
	if h == nil || len(h.ForZones) != 1 || len(h.ForNodes) > 0 {
		return ""
	}
	return h.ForZones[0].Name
}

// found is a pod, merged from all slices.
type found struct {
	endpoint // of the newest slice that has the pod

	version uint64
	addrs   []netip.Addr
}

// key identifies a pod. The UID comes first, since a new pod of a StatefulSet has the name
// of the old one.
func (e *endpoint) key() string {
	switch {
	case e.uid != "":
		return "uid " + e.uid
	case e.pod != "":
		return "pod " + e.pod
	}
	return "address " + e.addr.String()
}

// gather returns each pod once, whatever the order of the slices. Two slices can have the
// same pod, because it has two addresses or moves between slices. The conditions of the
// newest slice count then. (kube-proxy takes those of any slice.)
func gather(all map[string]*slice) map[string]*found {
	pods := make(map[string]*found)
	for _, s := range all {
		for i := range s.endpoints {
			add(pods, &s.endpoints[i], s.version)
		}
	}
	return pods
}

// listed returns the members among the pods. If several pods have the same address, only one
// of them is a member.
func listed(pods map[string]*found) []peers.Member {
	list := make([]*found, 0, len(pods))
	for _, f := range pods {
		slices.SortFunc(f.addrs, netip.Addr.Compare)
		list = append(list, f)
	}
	slices.SortFunc(list, preferred)
	members := make([]peers.Member, 0, len(list))
	taken := make(map[netip.Addr]bool, len(list))
	for _, f := range list {
		if !f.terminating && !f.ready || slices.ContainsFunc(f.addrs, func(a netip.Addr) bool { return taken[a] }) {
			continue
		}
		for _, a := range f.addrs {
			taken[a] = true
		}
		members = append(members, peers.Member{
			Pod: f.pod, Addrs: f.addrs, Zone: f.forZone, NodeZone: f.zone, Terminating: f.terminating, Unproven: f.unproven && !f.terminating,
		})
	}
	dropPartialHints(members)
	slices.SortFunc(members, func(a, b peers.Member) int { return a.Addrs[0].Compare(b.Addrs[0]) })
	return members
}

// dropPartialHints removes the zones unless each ready pod has one. kube-proxy follows hints
// only if all ready endpoints have them.
func dropPartialHints(members []peers.Member) {
	lacks := func(m peers.Member) bool { return m.Zone == "" && !m.Terminating }
	if !slices.ContainsFunc(members, lacks) {
		return
	}
	for i := range members {
		members[i].Zone = ""
	}
}

func add(pods map[string]*found, e *endpoint, version uint64) {
	key := e.key()
	f := pods[key]
	if f == nil {
		pods[key] = &found{endpoint: *e, version: version, addrs: []netip.Addr{e.addr}}
		return
	}
	if version > f.version || version == f.version && e.before(&f.endpoint) {
		f.endpoint, f.version = *e, version
	}
	if !slices.Contains(f.addrs, e.addr) {
		f.addrs = append(f.addrs, e.addr)
	}
}

// before decides between slices of the same version, which only a server without numeric
// versions has. It prefers the safer state, so that no client is sent to a terminating pod.
func (e *endpoint) before(o *endpoint) bool {
	if e.terminating != o.terminating {
		return e.terminating
	}
	if e.ready != o.ready {
		return !e.ready
	}
	return e.unproven && !o.unproven
}

// preferred orders pods by their right to an address. Two pods have the same one for a
// moment when one takes it over from the other.
func preferred(a, b *found) int {
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)),
		cmp.Compare(b.version, a.version),
		slices.CompareFunc(a.addrs, b.addrs, netip.Addr.Compare),
		cmp.Compare(a.key(), b.key()),
	)
}

func rank(f *found) int {
	switch {
	case f.terminating:
		return 3
	case !f.ready:
		return 2
	case f.pod == "":
		return 1
	}
	return 0
}
