package plan

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// growth is one enlargement of the fleet and how far the clients have been told.
//
//	gate -> count -> move -> check -> count -> ... -> done
//	DNS     peers   GOAWAYs  30 s     round 2
type growth struct {
	old, new []string // sorted: who was there before, and who came
	since    time.Duration
	phase    phase
	round    int // 1..MaxRounds
	opened   time.Duration

	ask   *Ask
	queue []uint64
	total int           // this round's GOAWAYs
	check time.Duration // when reach is looked at
	moved int           // over all rounds
	blind bool          // no new pod could be asked: no further rounds
}

type phase uint8

const (
	atGate phase = iota
	counting
	moving
	checking
)

// watch takes note of the membership and of growth.
//
//	seen != members                  note it, wait for quiet
//	quiet for less than Settle       wait
//	first quiet view                 it is the one to compare with
//	quiet, pods were added           a growth: old = those that stay
//	quiet, pods only left            nothing to do: their clients have moved on
func (s *State) watch(v *View, p *Policy, st *Step) {
	if !slices.Equal(s.seen, v.Members) {
		s.seen = slices.Clone(v.Members)
		s.seenAt = v.Now
	}
	if slices.Equal(s.settled, s.seen) {
		return
	}
	if quiet := s.seenAt + p.Settle; v.Now < quiet {
		st.wakeAt(quiet, v.Now)
		return
	}
	s.settle(v, st)
}

func (s *State) settle(v *View, st *Step) {
	before := s.settled
	s.settled = s.seen
	s.changed = v.Now
	if !s.started {
		s.started = true
		st.note("joined", len(s.settled), "first view of the service: %d pods", len(s.settled))
		return
	}
	added := without(s.settled, before)
	if len(added) == 0 {
		st.note("shrunk", len(before)-len(s.settled), "pods left: %d to %d; their clients find the others by themselves",
			len(before), len(s.settled))
		s.growth = s.growth.shrink(s.settled)
		return
	}
	s.Generation++
	s.unreached = 0
	s.growth = s.growth.follow(both(before, s.settled), added, s.settled)
	s.growth.since = v.Now
	st.note("grown", len(added), "%d to %d pods", len(before), len(s.settled))
}

// follow starts a growth. The pods of an unfinished one stay new, so that one GOAWAY tells of all.
func (g *growth) follow(old, added, members []string) *growth {
	if g != nil {
		still := both(g.new, members)
		old, added = without(old, still), union(still, added)
	}
	return &growth{old: old, new: added, round: 1}
}

// shrink drops pods that left. Without any new pod there is nothing to tell.
func (g *growth) shrink(members []string) *growth {
	if g == nil {
		return nil
	}
	n := *g
	n.old, n.new = both(g.old, members), both(g.new, members)
	if len(n.new) == 0 {
		return nil
	}
	return &n
}

// owner returns the pod that tells key's client in the given round (from 1), by
// rendezvous hashing over the pods that were there before: all pods come to the
// same answer without talking, and a pod that leaves only hands on its own keys.
func owner(key string, pods []string, round int) string {
	rank := ranking(key, pods)
	if len(rank) == 0 {
		return ""
	}
	return rank[(round-1)%len(rank)]
}

// ranking orders pods by their weight for key, the heaviest first.
func ranking(key string, pods []string) []string {
	out := slices.Clone(pods)
	weight := make(map[string]uint64, len(pods))
	for _, pod := range pods {
		weight[pod] = xxhash.Sum64String(key + "\x00" + pod)
	}
	slices.SortFunc(out, func(a, b string) int {
		switch wa, wb := weight[a], weight[b]; {
		case wa > wb:
			return -1
		case wa < wb:
			return 1
		}
		return 0
	})
	return out
}
