package peerview

import (
	"net/netip"
	"slices"

	"github.com/evenkeel-go/evenkeel/peers"
)

// Self is this pod's identity among its peers.
type Self struct {
	// Pod is its name.
	Pod string
	// Addr is its own IP address. It is invalid if no setting names it.
	Addr netip.Addr
}

// Is reports whether m is this pod. The address decides. The name decides only if the source
// knows no address of the same family, since the Service of a dual-stack pod may have only
// the other family.
func (s Self) Is(m *peers.Member) bool {
	sameFamily := func(a netip.Addr) bool { return a.Is4() == s.Addr.Is4() }
	if s.Addr.IsValid() && slices.ContainsFunc(m.Addrs, sameFamily) {
		return slices.Contains(m.Addrs, s.Addr)
	}
	return m.Pod != "" && m.Pod == s.Pod
}
