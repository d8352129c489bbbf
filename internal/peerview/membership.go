package peerview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
)

// staleAfter is how old the source's last good view may be. Sources renew theirs
// every few seconds.
const staleAfter = 30 * time.Second

var errAddressless = errors.New("the source reported a member without an address")

// Member is a pod that serves.
type Member struct {
	// ID is its lowest address: every pod comes to the same one.
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

// watch follows the source. One that gives up leaves a view that becomes stale.
func (b *Book) watch(ctx context.Context) {
	err := b.opts.Source.Run(ctx, b.Update)
	if err != nil && ctx.Err() == nil {
		b.Update(peers.Membership{Err: err})
		b.opts.Events.Ended(err)
	}
}

// Update takes a report of the source. Run calls it.
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

// take keeps a good view and reports whether it is another one.
func (b *Book) take(m *peers.Membership) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed = b.starting != m.Starting || !slices.EqualFunc(b.reported, m.Members, sameMember)
	b.err, b.starting, b.seenAt = nil, m.Starting, time.Now()
	if changed {
		b.reported = copyMembers(m.Members)
		b.members = b.list(b.reported)
		b.unproven = slices.ContainsFunc(b.reported, func(m peers.Member) bool { return m.Unproven })
	}
	return changed
}

// copyMembers leaves the source what is its own.
func copyMembers(members []peers.Member) []peers.Member {
	out := slices.Clone(members)
	for i := range out {
		out[i].Addrs = slices.Clone(out[i].Addrs)
	}
	return out
}

func sameMember(a, b peers.Member) bool {
	return a.Pod == b.Pod && a.Terminating == b.Terminating && a.Unproven == b.Unproven && a.Port == b.Port &&
		slices.Equal(a.Addrs, b.Addrs)
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

func byID(a, b member) int { return strings.Compare(a.id, b.id) }

// Members returns the pods that serve, this one among them, or why the view cannot be
// acted upon.
func (b *Book) Members() (serving []Member, stale string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text := b.staleLocked(); text != "" {
		return nil, text
	}
	found := false
	for i := range b.members {
		m := &b.members[i]
		found = found || m.self
		if b.servesLocked(m) {
			serving = append(serving, Member{ID: m.id, Addrs: m.addrs, Self: m.self})
		}
	}
	if !found {
		return nil, fmt.Sprintf("%v does not list this pod (%s): it is not ready yet, or $POD_IP is wrong",
			b.opts.Source, cmp.Or(addrText(b.opts.Self.Addr), "address unknown"))
	}
	return serving, ""
}

// staleLocked says why there is no view that is good enough, empty if there is one. Pods
// that have to prove that they serve have had the time to do so once all have been polled.
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

// servesLocked reports whether a pod serves. A fresh report decides; without one, a pod
// serves if the source can know it.
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

// Starting returns how many more pods are about to serve, if the source knows.
func (b *Book) Starting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.starting
}

// Listed reports whether the source lists this pod as serving. A list that is written
// down always does, and proves nothing.
func (b *Book) Listed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.members, func(m member) bool { return m.self && !m.Unproven && !m.Terminating })
}

// OwnAddrs returns this pod's addresses, those that it knows and those that the source does.
func (b *Book) OwnAddrs() []netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	var own []netip.Addr
	if addr := b.opts.Self.Addr; addr.IsValid() {
		own = append(own, addr)
	}
	for i := range b.members {
		if b.members[i].self {
			own = append(own, b.members[i].addrs...)
		}
	}
	return own
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
