package peerview

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
)

// staleAfter is how old the source's last good view may be. Sources renew their view every
// few seconds.
const staleAfter = 30 * time.Second

var errAddressless = errors.New("the source reported a member without an address")

// Member is a pod that serves.
type Member struct {
	// ID is its lowest address, so that all pods give it the same ID.
	ID    string
	Addrs []netip.Addr // lowest first
	Self  bool
}

// member is a Member as the source reports it.
type member struct {
	peers.Member

	id    string
	addrs []netip.Addr // lowest first
	self  bool
}

// watch runs the source. If the source stops with an error, its last view becomes stale.
func (b *Book) watch(ctx context.Context) {
	err := b.opts.Source.Run(ctx, b.Update)
	if err != nil && ctx.Err() == nil {
		b.Update(peers.Membership{Err: err})
		b.opts.Events.Ended(err)
	}
}

// Update takes a view of the membership from the source. Run calls it.
func (b *Book) Update(m peers.Membership) {
	if m.Err == nil && slices.ContainsFunc(m.Members, func(m peers.Member) bool { return len(m.Addrs) == 0 }) {
		m.Err = errAddressless
	}
	if m.Err != nil {
		b.mu.Lock()
		b.err = m.Err
		b.mu.Unlock()
		b.opts.Events.Changed()
		return
	}
	b.opts.Events.ClientName(m.ClientName)
	changed := b.take(&m)
	b.opts.Events.Warning(m.Warning)
	if changed {
		b.opts.Events.Changed()
	}
}

// take stores a good view and reports whether it differs from the last one.
func (b *Book) take(m *peers.Membership) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed = b.starting != m.Starting || b.startingKnown != m.StartingKnown || !slices.EqualFunc(b.reported, m.Members, sameMember)
	b.err, b.starting, b.startingKnown, b.seenAt = nil, m.Starting, m.StartingKnown, time.Now()
	if changed {
		b.changedAt = b.seenAt
		b.reported = copyMembers(m.Members)
		before := b.members
		b.members = b.list(b.reported)
		b.addrs.Store(addrSet(b.members))
		b.findSelfLocked()
		b.rememberLocked(before)
		if b.addedLocked(before) {
			signal(b.news)
		}
		b.unproven = slices.ContainsFunc(b.reported, func(m peers.Member) bool { return m.Unproven })
	}
	b.findPresenceLocked()
	return changed
}

// addedLocked reports whether a pod is listed that is not in before.
func (b *Book) addedLocked(before []member) bool {
	return slices.ContainsFunc(b.members, func(m member) bool {
		_, known := slices.BinarySearchFunc(before, m, byID)
		return !known
	})
}

// signal wakes the receiver of ch, unless a wake-up is pending already.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// copyMembers makes a deep copy, since the source may reuse its slices.
func copyMembers(members []peers.Member) []peers.Member {
	out := slices.Clone(members)
	for i := range out {
		out[i].Addrs = slices.Clone(out[i].Addrs)
	}
	return out
}

func sameMember(a, b peers.Member) bool {
	return a.Pod == b.Pod && a.Terminating == b.Terminating && a.Unproven == b.Unproven && a.Port == b.Port &&
		a.Zone == b.Zone && a.NodeZone == b.NodeZone && slices.Equal(a.Addrs, b.Addrs)
}

func (b *Book) list(reported []peers.Member) []member {
	out := make([]member, len(reported))
	for i := range reported {
		m := &reported[i]
		addrs := slices.SortedFunc(slices.Values(m.Addrs), netip.Addr.Compare)
		out[i] = member{Member: *m, id: addrs[0].String(), addrs: addrs, self: b.opts.Self.Is(m)}
	}
	slices.SortFunc(out, byID)
	return out
}

// addrSet returns the set of the members' addresses.
func addrSet(members []member) *map[netip.Addr]bool {
	set := make(map[netip.Addr]bool, len(members))
	for i := range members {
		for _, a := range members[i].addrs {
			set[a] = true
		}
	}
	return &set
}

// ViewAge returns the time since the source last reported a good view. ok is false before the
// first.
func (b *Book) ViewAge() (age time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seenAt.IsZero() {
		return 0, false
	}
	return time.Since(b.seenAt), true
}

// IsMember reports whether a pod that the source lists has this address. It takes no lock, so
// that no asker can hold up the polls of this pod.
func (b *Book) IsMember(addr netip.Addr) bool {
	set := b.addrs.Load()
	return set != nil && (*set)[addr]
}

// Addresses returns at how many addresses the source lists pods. Like IsMember, it takes no lock.
func (b *Book) Addresses() int {
	if set := b.addrs.Load(); set != nil {
		return len(*set)
	}
	return 0
}

func byID(a, b member) int { return strings.Compare(a.id, b.id) }

// staleLocked returns why the view is not good enough, empty if it is. With unproven pods,
// there is no good view before every pod has been polled once.
func (b *Book) staleLocked() string {
	source, age := b.opts.Source, time.Since(b.seenAt)
	switch {
	case b.unproven && !b.polledAll, b.seenAt.IsZero() && b.err == nil:
		return fmt.Sprintf("%v has not answered yet", source)
	case b.seenAt.IsZero():
		return fmt.Sprintf("%v: %v", source, b.err)
	case age > staleAfter && b.err != nil:
		return fmt.Sprintf("%v has failed for more than %v: %v", source, staleAfter, b.err)
	case age > staleAfter:
		return fmt.Sprintf("%v has reported nothing for more than %v", source, staleAfter)
	}
	return ""
}

// servesLocked reports whether a pod serves. A fresh report decides. Without one, a pod
// serves unless it is unproven.
func (b *Book) servesLocked(m *member) bool {
	switch {
	case m.self:
		return true
	case m.Terminating:
		return false
	}
	if s, fresh := b.freshLocked(m.id); fresh {
		return s.Ready
	}
	return !m.Unproven
}

// Listed reports whether the source lists this pod as serving. An unproven entry does not
// count, since a fixed list always has it.
func (b *Book) Listed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.members, func(m member) bool { return m.self && !m.Unproven && !m.Terminating })
}

// OwnAddrs returns this pod's addresses: its own setting and those that the source lists, or
// listed last.
func (b *Book) OwnAddrs() []netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	var own []netip.Addr
	if addr := b.opts.Self.Addr; addr.IsValid() {
		own = append(own, addr)
	}
	return append(own, b.ownAddrs...)
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
