package kube

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/evenkeel-go/evenkeel/peers"
	discovery "k8s.io/api/discovery/v1"
)

// slice is what is kept of an EndpointSlice.
type slice struct {
	version   uint64 // of the resource; 0: not a number
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
}

// headlessLabel is on each slice of a headless Service.
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

// toEndpoint reads the conditions as the API defines them: unknown is ready, and ready
// is never true for a pod that terminates, unless its Service publishes addresses that are not
// ready. Then serving alone tells, and a pod has to prove itself. Addresses beyond
// the first have no meaning.
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
	if r := e.TargetRef; r != nil && r.Kind == "Pod" {
		out.pod, out.uid = r.Name, string(r.UID)
	}
	return out, true
}

// found is a pod over all slices.
type found struct {
	endpoint // of the newest slice that has the pod

	version uint64
	addrs   []netip.Addr
}

// key tells pods apart. A pod of a StatefulSet comes back by the same name.
func (e *endpoint) key() string {
	switch {
	case e.uid != "":
		return "uid " + e.uid
	case e.pod != "":
		return "pod " + e.pod
	}
	return "address " + e.addr.String()
}

// gather finds each pod once over all slices, in whatever order they come. Where two slices
// have it, because it is being moved or has two addresses, the newest slice's word
// counts. (kube-proxy takes the first that it meets, in no order.)
func gather(all map[string]*slice) map[string]*found {
	pods := make(map[string]*found)
	for _, s := range all {
		for i := range s.endpoints {
			add(pods, &s.endpoints[i], s.version)
		}
	}
	return pods
}

// listed are the members among the pods. Where two claim an address, one has it.
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
			Pod: f.pod, Addrs: f.addrs, Terminating: f.terminating, Unproven: f.unproven && !f.terminating,
		})
	}
	slices.SortFunc(members, func(a, b peers.Member) int { return a.Addrs[0].Compare(b.Addrs[0]) })
	return members
}

// starting counts the pods that have an address and are not ready yet.
func starting(pods map[string]*found) int {
	n := 0
	for _, f := range pods {
		if !f.ready && !f.terminating {
			n++
		}
	}
	return n
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

// before decides between slices of one version, which only a server that does not
// number them has: for what is safer, so that nothing is sent to a pod on its way out.
func (e *endpoint) before(o *endpoint) bool {
	if e.terminating != o.terminating {
		return e.terminating
	}
	if e.ready != o.ready {
		return !e.ready
	}
	return e.unproven && !o.unproven
}

// preferred sorts those first that keep an address which two pods claim, for a moment,
// when one took over the other's.
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
