package peerview

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

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
	sameFamily := func(a netip.Addr) bool { return a.Unmap().Is4() == s.Addr.Is4() }
	if s.Addr.IsValid() && slices.ContainsFunc(m.Addrs, sameFamily) {
		return slices.ContainsFunc(m.Addrs, func(a netip.Addr) bool { return a.Unmap() == s.Addr })
	}
	return m.Pod != "" && m.Pod == s.Pod
}

// interfaceAddrs returns the addresses of this machine's network interfaces.
func interfaceAddrs() []netip.Addr {
	all, _ := net.InterfaceAddrs() // if they cannot be read, $POD_IP is needed as before
	var out []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}

// findSelfLocked marks the members that are this pod. Without an address of its own and a name
// that the source knows, that is the one that has an address of this machine's network
// interfaces. If several have one, none is marked: to guess would be to poll oneself.
func (b *Book) findSelfLocked() {
	b.local, b.alike = usable(b.opts.Interfaces()), nil
	found := slices.ContainsFunc(b.members, func(m member) bool { return m.self })
	if !found && !b.opts.Self.Addr.IsValid() {
		here := b.hereLocked()
		if len(here) == 1 {
			here[0].self = true
		} else {
			b.alike = here
		}
	}
	for i := range b.members {
		if m := &b.members[i]; m.self {
			b.ownAddrs = m.addrs
		}
	}
}

// usable drops the addresses that many machines have.
func usable(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), netip.Addr.IsLinkLocalUnicast)
}

// hereLocked returns the members that have an address of this machine.
func (b *Book) hereLocked() []*member {
	var out []*member
	for i := range b.members {
		m := &b.members[i]
		if slices.ContainsFunc(m.addrs, func(a netip.Addr) bool { return slices.Contains(b.local, a.Unmap()) }) {
			out = append(out, m)
		}
	}
	return out
}

// loneAfter is how long a name must have given one address before a ClusterIP is suspected.
// The first pod of a service is alone for about that long, until the second one is ready.
const loneAfter = 30 * time.Second

// unlistedLocked explains why none of the members is this pod.
func (b *Book) unlistedLocked() string {
	source, own, here := b.opts.Source, b.opts.Self.Addr, b.hereLocked()
	switch {
	case len(b.alike) > 1:
		return fmt.Sprintf("%v lists %d members with addresses of this pod's network interfaces (%s): set $POD_IP to the one that is this pod's",
			source, len(b.alike), memberText(b.alike))
	case b.opts.ByName && len(b.members) == 1 && len(b.members[0].addrs) == 1 && time.Since(b.changedAt) >= loneAfter:
		return fmt.Sprintf("%v answers %s alone, and that is not this pod (%s): is the Service headless? The address of a ClusterIP stands for all of its pods",
			source, b.members[0].addrs[0], cmp.Or(addrText(own), b.localTextLocked()))
	case !own.IsValid():
		return fmt.Sprintf("%v lists no address of this pod's network interfaces (%s): it is not ready yet, or $POD_IP must be set", source, b.localTextLocked())
	case len(here) > 0:
		return fmt.Sprintf("%v does not list this pod (%v): it is not ready yet, or $POD_IP is wrong: %s is listed, and is an address of this pod",
			source, own, memberText(here))
	}
	return fmt.Sprintf("%v does not list this pod (%v): it is not ready yet, or $POD_IP is wrong", source, own)
}

// memberText names members by their first addresses.
func memberText(all []*member) string {
	var addrs []netip.Addr
	for _, m := range all {
		addrs = append(addrs, m.addrs[0])
	}
	return someText(addrs)
}

// localTextLocked names this machine's addresses, without those of loopback.
func (b *Book) localTextLocked() string {
	return someText(slices.DeleteFunc(slices.Clone(b.local), netip.Addr.IsLoopback))
}

func someText(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	if len(out) > maxNamed {
		out = append(out[:maxNamed], "...")
	}
	return cmp.Or(strings.Join(out, " "), "none")
}
