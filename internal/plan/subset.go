package plan

import (
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// A channel may use some of the pods only (gRFC A68): its key is on several pods, and not on
// all. So the pods that hold the key decide who drains it: the heaviest of them. Where it goes
// nobody knows, so it is drained once, in the first round.
//
// Several single-homed clients behind one address look the same until they are drained. So each
// pod drains a few first, and the others only if these come back.

// probedKeys is how many keys each pod queries all others for, to find such clients.
const probedKeys = 16

// firstOfSubsets is of how many clients each pod drains the connections first.
const firstOfSubsets = 8

// probe returns the keys that all pods are queried for: a few, or all once there are clients
// that are on some of the pods.
func (g *growth) probe(v *View, owned []string, p *Policy) []string {
	switch {
	case g.subsets:
		if g.pass == 1 {
			g.mine = nil
		}
		return owned
	case g.round > 1 || g.pass > 0 || p.DryRun || len(g.owners.pods) < 3 || len(v.Members)-1 > PollAll:
		return nil
	}
	var keys []string
	for i := 0; i < len(v.Conns); i += len(v.Conns)/probedKeys + 1 {
		if c := &v.Conns[i]; !c.Draining && !c.Single {
			keys = union(keys, []string{c.Key})
		}
	}
	return keys
}

// findSubsets looks for probed keys that are on some of the pods. They are counted in the next
// pass, once the proxies know the new pods.
func (g *growth) findSubsets(v *View) {
	if g.subsets || !g.mayWait() {
		return
	}
	g.subsets = slices.ContainsFunc(g.probed, func(key string) bool {
		some, _ := g.holders(key, v.Self)
		return some
	})
	if g.subsets {
		g.restUntil = max(g.restUntil, v.Now, g.changedAt+proxyWait)
	}
}

// holders reports whether a key is on some of the pods that may own keys and answered, equally
// often on each, and whether this pod is the heaviest of them. One that is silent may hold it, too.
func (g *growth) holders(key, self string) (some, heaviest bool) {
	h := xxhash.Sum64String(key)
	own := mix(h, xxhash.Sum64String(self))
	n, answered, most, least := 0, 0, 0, math.MaxInt
	_, heaviest = slices.BinarySearch(g.owners.pods, self)
	for _, pod := range g.owners.pods {
		counts, known := g.inquiry.counts[pod]
		if known && pod != self {
			answered++
		}
		if count := counts[key]; count > 0 {
			n, most, least = n+1, max(most, count), min(least, count)
		}
		if pod != self && (!known || counts[key] > 0) && mix(h, xxhash.Sum64String(pod)) > own {
			heaviest = false
		}
	}
	return 0 < n && n < answered && most == least, heaviest
}

// appendSubset appends the connections of a client that is on some of the pods. The first pass only
// counts: what other pods drain meanwhile may make two pods look the heaviest. The second one drains
// those of a few clients, and the third one the others.
func (g *growth) appendSubset(queue []uint64, conns []*Conn, v *View, p *Policy) []uint64 {
	if g.round > 1 {
		return queue
	}
	i, mine := slices.BinarySearch(g.mine, conns[0].Key)
	if g.pass == 1 {
		g.mine = append(g.mine, conns[0].Key)
		g.restUntil = max(g.restUntil, v.Now+landing)
		return queue
	}
	if !mine {
		return queue
	}
	if g.pass == 2 {
		g.sampled, g.restUntil = true, max(g.restUntil, v.Now+comesBack)
	}
	for _, c := range conns {
		switch {
		case c.Opened >= g.opened || g.pass == 2 && i >= firstOfSubsets:
		case c.Returned && v.Now-c.Opened < p.Cooldown:
			g.restUntil = max(g.restUntil, c.Opened+p.Cooldown)
		default:
			queue = append(queue, c.ID)
		}
	}
	return queue
}

// learnSubsets sees whether the clients that are on some of the pods came back, as channels do. Some
// of those leave again as soon as they know the new pods; of single-homed ones, some land here by
// chance.
func (s *State) learnSubsets(v *View) {
	g := s.growth
	if !g.subsets || g.pass < 2 || g.total == 0 {
		return
	}
	all, members := float64(g.total), float64(len(v.Members))
	back := all - float64(g.stayedAway(v))
	g.subsets = back >= all*max(float64(len(g.owners.pods))/2, 2)/members
	s.clients.comeBack = g.subsets && (s.clients.comeBack || back > byChance(all, 1/members))
}

// queryHolders queries all other pods for those of the chosen keys that may be one channel's, if
// clients on some of the pods come back.
func (s *State) queryHolders(q *Query, v *View) {
	if !s.clients.comeBack || len(v.Members)-1 > PollAll {
		return
	}
	var few []string
	for key, h := range s.here(v) {
		if h.few {
			few = append(few, key)
		}
	}
	for _, pod := range v.Members {
		if pod != v.Self && len(few) > 0 {
			q.Keys[pod] = union(q.Keys[pod], few)
		}
	}
}
