package peerview

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// outAfter is how long good views must have lacked this pod until it counts as taken out
	// of the Service. A readiness probe that fails for a moment, or a DNS server that does not
	// list all pods, is no reason to drain anybody.
	outAfter = 30 * time.Second
	// formerFor is how long a pod remembers members that are no longer listed. They may be
	// out of the Service like this one, which only they can tell.
	formerFor = 10 * time.Minute
	// outWalks is how often a pod that is missing must have polled every pod that it
	// remembers. Only then it knows how many others are out: when most are, none drains.
	outWalks = 2
)

// presence is where this pod itself stands in the membership.
type presence struct {
	id      string // as last listed
	zone    string // in which it runs, as last listed
	listed  bool
	leaving bool // it was terminating when last listed
	// missing is when the first of the good views came that lack this pod, which had been a
	// member; zero while it is listed.
	missing time.Time
	walks   int // complete walks over all pods since then
}

// former is a member that is no longer listed.
type former struct {
	member

	gone time.Time
}

// findPresenceLocked follows whether this pod is listed, in a good view.
func (b *Book) findPresenceLocked() {
	p := &b.presence
	i := slices.IndexFunc(b.members, func(m member) bool { return m.self })
	if p.listed = i >= 0; p.listed {
		m := &b.members[i]
		*p = presence{id: m.id, zone: cmp.Or(m.NodeZone, m.Zone), listed: true, leaving: m.Terminating}
		return
	}
	if p.missing.IsZero() && p.id != "" && len(b.alike) == 0 {
		p.missing, p.walks = b.seenAt, 0
	}
}

// rememberLocked keeps the members of before that the source no longer lists.
func (b *Book) rememberLocked(before []member) {
	for i := range before {
		m := &before[i]
		if !m.self && !m.Terminating {
			kept := former{*m, b.seenAt}
			if r := b.records[m.id]; r != nil {
				kept.Pod = cmp.Or(m.Pod, r.report.Pod) // its address may become another pod's
			}
			b.former[m.id] = kept
		}
	}
	for id, f := range b.former {
		if b.isListedLocked(id) || b.seenAt.Sub(f.gone) > formerFor {
			delete(b.former, id)
		}
	}
}

func (b *Book) isListedLocked(id string) bool {
	_, listed := slices.BinarySearchFunc(b.members, member{id: id}, byID)
	return listed
}

// wasMemberLocked reports whether this pod was a member, is not listed, and lives on.
func (b *Book) wasMemberLocked() bool {
	p := &b.presence
	return !p.listed && !p.missing.IsZero() && !p.leaving && len(b.alike) == 0
}

// absentLocked explains why none of the members is this pod: either the view must not be acted
// upon, or this pod is out of the Service.
//
//	this pod has never been a member      stale: it is starting, or its address is wrong
//	it was terminating                    stale: it is about to stop
//	it is missing for less than outAfter  stale: it may be back in a moment
//	for longer                            out
func (b *Book) absentLocked() (stale, out string) {
	p, source, self := &b.presence, b.opts.Source, b.presence.id
	switch {
	case p.missing.IsZero() || len(b.alike) > 0:
		return b.unlistedLocked(), ""
	case p.leaving:
		return fmt.Sprintf("%v no longer lists this pod (%s), which is terminating", source, self), ""
	case b.seenAt.Sub(p.missing) < outAfter, p.walks < outWalks:
		return fmt.Sprintf("%v no longer lists this pod (%s): if that lasts for %v, its connections are drained", source, self, outAfter), ""
	}
	return "", fmt.Sprintf("%v has not listed this pod (%s) for %v, although it lives", source, self, outAfter)
}

// Out reports whether the source lists the membership without this pod, which was a member and
// is not terminating. Other pods learn of it at once, before View acts upon it: they must all
// know how many are out.
func (b *Book) Out() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wasMemberLocked() && b.staleLocked() == ""
}

// OwnZone returns the zone of this pod as the source knows it, empty if it does not.
func (b *Book) OwnZone() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.presence.zone
}
