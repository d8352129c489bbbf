package peerview

import (
	"net/netip"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

const (
	// startingFor is how long after its last announcement a pod counts as starting. It
	// announces itself with each poll.
	startingFor = 3 * PollEvery
	// startsWithin is how long a pod may be starting. One that takes longer is no longer
	// waited for, such as one that never becomes ready.
	startsWithin = 2 * time.Minute
	// maxAnnounced and forgotten bound the memory for pods that announce themselves, which
	// anybody can do who reaches the port. Planning waits for starting pods for 15 s at most
	// after a change of the membership, whatever their number.
	maxAnnounced = 64
	forgotten    = time.Minute
)

// announced is a pod that has said that it is starting.
type announced struct {
	addr        netip.Addr
	first, last time.Duration // when it did
}

// Starts takes the announcement of a pod that it is starting.
func (b *Book) Starts(s peerz.Start) {
	if b.hear(s) {
		b.opts.Events.Changed()
	}
}

// hear stores an announcement, and reports whether it is a pod's first.
func (b *Book) hear(s peerz.Start) (first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	a, known := b.announced[s.Pod]
	if !known {
		for pod, a := range b.announced {
			if now-a.last >= forgotten {
				delete(b.announced, pod)
			}
		}
		if len(b.announced) >= maxAnnounced {
			b.crowdedAt = now
			return false
		}
		a.first = now
	}
	a.addr, a.last = s.Addr, now
	b.announced[s.Pod] = a
	return !known
}

// startingLocked returns how many pods are starting, and whether these are all of them. The
// source may know, or else those that announce themselves count. They are all of them if it is
// known that each would: the pods look up the same name, all members are of a version that
// announces itself, and they are so few that a starting pod polls each of them at once.
func (b *Book) startingLocked() (n int, known bool) {
	if b.startingKnown {
		return b.starting, true
	}
	crowded := b.crowdedAt > 0 && b.now()-b.crowdedAt < forgotten // some were not heard
	return max(b.starting, b.announcedLocked()), b.opts.ByName && !crowded && b.allAnnounceLocked()
}

func (b *Book) announcedLocked() int {
	n, now := 0, b.now()
	for pod, a := range b.announced {
		if now-a.last < startingFor && now-a.first < startsWithin && !b.isMemberLocked(pod, a.addr) {
			n++
		}
	}
	return n
}

// isMemberLocked reports whether a pod with that address or name is listed.
func (b *Book) isMemberLocked(pod string, addr netip.Addr) bool {
	for i := range b.members {
		m := &b.members[i]
		if r := b.records[m.id]; m.Pod == pod || r != nil && r.report.Pod == pod {
			return true
		}
		for _, a := range m.addrs {
			if a.Unmap() == addr {
				return true
			}
		}
	}
	return false
}

func (b *Book) allAnnounceLocked() bool {
	now, others := b.now(), 0
	for i := range b.members {
		m := &b.members[i]
		if m.self || m.Terminating {
			continue
		}
		r := b.records[m.id]
		if others++; m.Unproven || r == nil || r.at == 0 || now-r.at > plan.ReportFresh || !r.report.Announces() {
			return false
		}
	}
	return others <= plan.PollAll
}

// announcement returns how this pod announces itself to the pods that it polls: as long as it
// has not been a member, and is not stopping.
func (b *Book) announcement() (s peerz.Start, ok bool) {
	if !b.opts.Ready() {
		return peerz.Start{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return peerz.Start{Pod: b.opts.Self.Pod, Addr: b.opts.Self.Addr}, b.presence.id == ""
}
