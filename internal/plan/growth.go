package plan

import (
	"slices"
	"time"
)

// growth is one enlargement of the fleet and how far the clients have been told.
//
//	gate -> count -> move -> check -> count -> ... -> done
//	DNS     peers   GOAWAYs  65 s     round 2
type growth struct {
	old, new []string // sorted: who tells, and who is to be reached; see follow
	text     string   // how many to how many pods; empty: not put in words yet
	since    time.Duration
	phase    phase
	round    int // 1..MaxRounds
	opened   time.Duration

	owners *owners // over the tellers, for this round's questions
	others *owners // over who is asked whether a client is there, too
	asked  inquiry
	queue  []uint64
	sent   []sent        // this round's, by client
	total  int           // this round's GOAWAYs
	began  time.Duration // when its first GOAWAY was sent
	told   time.Duration // when its last GOAWAY was sent
	judged bool          // it was looked whether they came back
	check  time.Duration // when reach is looked at
	moved  int           // over all rounds
	rested time.Duration // when those that came back a moment ago may be asked; 0: there are none
	again  bool          // this round is their turn
	left   bool          // pods that all clients knew left meanwhile: it is a rollout
	blind  bool          // no new pod could be asked: no further rounds
}

// sent is how many connections of a client are asked to leave in a round.
type sent struct {
	key string
	n   int
}

type phase uint8

const (
	atGate phase = iota
	counting
	moving
	checking
)

// startWait is how long pods that are not ready yet are waited for: clients then need to
// be told once, not once for each pod. A pod that never becomes ready costs this much time.
const startWait = 15 * time.Second

// watch takes note of the membership and of growth.
//
//	seen != members                  note it, wait for quiet
//	quiet for less than Settle       wait
//	more pods are starting           wait for them, startWait at most since the last change
//	first quiet view                 it is the one to compare with
//	quiet, pods were added           a growth: old = those that stayed
//	quiet, pods only left            nothing to do: their clients have moved on
//
// A pod that was gone for a moment, however short, is new: some clients may have
// resolved just then. If none did, the new pods' counts show it and nothing moves.
func (s *State) watch(v *View, p *Policy, st *Step) {
	if !slices.Equal(s.seen, v.Members) {
		s.changed(v)
		s.seen = slices.Clone(v.Members)
		s.stayed = both(s.stayed, s.seen)
	}
	if len(v.Restarted) > 0 {
		s.changed(v)
		s.stayed = without(s.stayed, slices.Sorted(slices.Values(v.Restarted)))
	}
	if slices.Equal(s.stayed, s.seen) {
		s.shrink(st)
		return
	}
	if quiet := s.seenAt + p.Settle; v.Now < quiet {
		st.wakeAt(quiet, v.Now)
		return
	}
	// Not so the first view: who came while it was waited for would be nobody's news.
	if late := s.seenAt + startWait; s.started && v.Starting > 0 && v.Now < late {
		st.wakeAt(late, v.Now)
		return
	}
	s.settle(v, st)
}

// changed takes note of when the membership changed, and how.
func (s *State) changed(v *View) {
	if len(s.seen) == 0 { // the first view
		s.seenAt = v.Now
		return
	}
	if len(v.Restarted) > 0 || len(without(v.Members, s.seen)) > 0 {
		s.came = v.Now
	}
	if len(v.Restarted) > 0 || len(without(s.seen, v.Members)) > 0 {
		s.went = v.Now
	}
	copy(s.changes[1:], s.changes[:])
	s.changes[0], s.seenAt = v.Now, v.Now
}

// shrink takes note of pods that left, without waiting.
func (s *State) shrink(st *Step) {
	if len(s.stayed) == len(s.settled) || !s.started {
		return
	}
	st.note("shrunk", len(s.settled)-len(s.stayed), "%d to %d pods: the clients of those that left find the others by themselves",
		len(s.settled), len(s.stayed))
	s.settled = s.stayed
	s.growth = s.growth.shrink(s.settled)
}

func (s *State) settle(v *View, st *Step) {
	before, stayed := s.settled, s.stayed
	s.settled, s.stayed, s.told = s.seen, s.seen, false
	if !s.started {
		s.started, s.joining = true, true
		st.note("joined", len(s.settled), "first view of the service: %d pods", len(s.settled))
		return
	}
	added := without(s.settled, stayed)
	s.Generation++
	s.unreached, s.sticky = 0, nil
	s.growth = s.growth.follow(both(stayed, s.settled), added, s.settled)
	s.growth.left = s.growth.left || len(without(without(before, s.growth.new), s.settled)) > 0
	s.growth.since = v.Now
	st.note("grown", len(added), "%d to %d pods", len(before), len(s.settled))
}

// follow starts a growth. The pods of one that is not over stay new, since nobody has
// seen yet that all clients have reached them.
func (g *growth) follow(old, added, members []string) *growth {
	n := &growth{old: old, new: added, round: 1}
	if g != nil {
		n.new = union(both(g.new, members), added)
		n.left = g.left
	}
	return n
}

// shrink drops pods that left. Without any new pod there is nothing to tell.
func (g *growth) shrink(members []string) *growth {
	if g == nil {
		return nil
	}
	n := *g
	n.text = ""
	n.left = g.left || len(without(without(g.old, g.new), members)) > 0
	n.old, n.new = both(g.old, members), both(g.new, members)
	if len(n.new) == 0 {
		return nil
	}
	return &n
}
