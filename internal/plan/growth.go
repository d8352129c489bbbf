package plan

import (
	"fmt"
	"slices"
	"time"
)

// growth is one enlargement of the membership, and how far clients have learned of it.
//
//	gate -> count -> move -> check -> count -> ... -> done
//	DNS     peers   GOAWAYs  65 s     round 2
type growth struct {
	old, new  []string // sorted: the pods that may own keys, and those to be reached; see follow
	text      string   // from how many to how many pods; empty: not composed yet
	since     time.Duration
	changedAt time.Duration // when the last of the new pods came
	phase     phase
	round     int           // 1..MaxRounds
	opened    time.Duration // when DNS began to list all pods; in later rounds, when the round began

	owners        *owners // of keys, in this round
	witnesses     *owners // the pods that are queried whether they hold a client too
	inquiry       inquiry
	queue         []uint64
	drains        []keyDrains   // this round's, by client
	total         int           // this round's GOAWAYs
	began         time.Duration // when this round's first GOAWAY was sent
	sentAt        time.Duration // when this round's last GOAWAY was sent
	judged        bool          // whether their clients came back has been checked
	checkAt       time.Duration // when reach is checked
	sent          int           // GOAWAYs over all rounds
	restUntil     time.Duration // when clients that came back recently may be drained; 0: there are none
	pass          int           // of this round: some clients must wait for a later one
	doubtful      bool          // there are single-homed clients behind shared addresses
	sampled       bool          // some keys have been drained in part
	sampledBefore bool          // and it shows whether they came back
	subsets       bool          // some clients are on some of the pods only
	probed        []string      // keys that show it
	mine          []string      // keys of theirs that this pod drains, sorted
	rollout       bool          // pods that all clients knew have been removed meanwhile
	plannedLasts  time.Duration // how long the drains of a dry run would take
	blind         bool          // no new pod answered: no further rounds
}

// keyDrains is how many connections of a client are drained in a round.
type keyDrains struct {
	key string
	n   int
}

type phase uint8

const (
	atGate phase = iota
	counting
	moving
	checking
	planned // in a dry run: this pod knows what it would drain
)

// watch notices changes of the membership, and growth.
//
//	the members changed recently     wait for quiet
//	more pods are starting           wait for them, at most startWait since the last change
//	first quiet view                 later ones are compared with it
//	quiet, pods were added           a growth: old = those that stayed
//	quiet, pods were only removed    nothing to do: their clients have moved on
//
// A pod that was missing for a moment, however short, is new: some clients may have
// resolved just then. If none did, the new pods' counts show it and nothing moves.
func (s *State) watch(v *View, p *Policy, st *Step) {
	m := &s.members
	if changed, arrived := m.observe(v); changed || len(arrived) > 0 {
		s.stayed = without(both(s.stayed, m.counted), arrived)
	}
	if m.nextEnd > 0 {
		st.wakeAt(m.nextEnd, v.Now)
	}
	if slices.Equal(s.stayed, m.counted) {
		s.shrink(st)
		return
	}
	quiet := m.quietFrom(v, p)
	// The first view does not wait: pods that came meanwhile would be part of it, not a growth.
	if late := m.changedAt() + startWait; s.started && m.starting(v) > 0 && v.Now < late {
		quiet = max(quiet, late)
	}
	if v.Now < quiet {
		st.wakeAt(quiet, v.Now)
		return
	}
	s.settle(v, st)
}

// shrink acts on removed pods without waiting.
func (s *State) shrink(st *Step) {
	if len(s.stayed) == len(s.settled) || !s.started {
		return
	}
	st.note("shrunk", len(s.settled)-len(s.stayed), "the service shrank from %d to %s: clients of the removed pods find the others by themselves",
		len(s.settled), plural(len(s.stayed), "pod", "pods"))
	s.settled = s.stayed
	s.growth = s.growth.shrink(s.settled)
}

func (s *State) settle(v *View, st *Step) {
	before, stayed := s.settled, s.stayed
	s.settled = s.members.counted
	s.stayed, s.growthCompleted = s.settled, false
	if !s.started {
		s.started, s.joining = true, true
		st.note("joined", len(s.settled), "this pod has its first view of the service: %s", plural(len(s.settled), "pod", "pods"))
		return
	}
	added := without(s.settled, stayed)
	s.Generation++
	s.unreached, s.clients.singleHomed = 0, nil
	s.growth = s.growth.follow(both(stayed, s.settled), added, s.settled)
	s.growth.rollout = s.growth.rollout || len(without(without(before, s.growth.new), s.settled)) > 0
	s.growth.since, s.growth.changedAt = v.Now, s.members.changedAt()
	st.note("grown", len(added), "the membership changed from %d to %s, %d of them new",
		len(before), plural(len(s.settled), "pod", "pods"), len(added))
}

// follow starts a growth. The pods of an unfinished one stay new, since it is not known
// yet that all clients have reached them.
func (g *growth) follow(old, added, members []string) *growth {
	n := &growth{old: old, new: added, round: 1}
	if g != nil {
		n.new = union(both(g.new, members), added)
		n.rollout = g.rollout
	}
	return n
}

// shrink drops removed pods. Without any new pod the growth ends.
func (g *growth) shrink(members []string) *growth {
	if g == nil {
		return nil
	}
	n := *g
	n.text = ""
	n.rollout = g.rollout || len(without(without(g.old, g.new), members)) > 0
	n.old, n.new = both(g.old, members), both(g.new, members)
	if len(n.new) == 0 {
		return nil
	}
	return &n
}

// describe names the growth in sentences.
func (g *growth) describe() string {
	if g.text == "" {
		reached := len(without(g.old, g.new)) // a pod may be old and still to be reached
		g.text = fmt.Sprintf("growth from %d to %d pods", reached, reached+len(g.new))
	}
	return g.text
}

// finish ends the growth. Multi-homed clients are on all pods then, unless some were
// given up as unreached.
func (s *State) finish(st *Step, action, format string, args ...any) {
	st.note(action, s.growth.sent, format, args...)
	s.growth, s.growthCompleted = nil, action != "unreached"
}

// maxPasses is how many passes one round may take: at once, after the proxies know the new
// pods, and after the first few connections of a key have shown what its clients are.
const maxPasses = 3

func (g *growth) mayWait() bool { return g.pass < maxPasses-1 || g.subsets && g.pass < maxPasses }

// morePasses reports whether some clients wait for a later pass.
func (g *growth) morePasses() bool { return g.restUntil > 0 && g.mayWait() }
