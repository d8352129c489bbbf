package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// reach makes new pods known to the channels of multi-homed clients. Each channel of a
// round_robin client has exactly one connection to each pod. So one GOAWAY per connection
// of one pod, the key's owner, is one GOAWAY per channel from the whole fleet.
//
//	the membership is not quiet     wait; a round under way pauses
//	pods were removed               wait until their clients have resolved again
//	DNS does not list every member  wait
//	otherwise                       query which pods have the keys, drain what is missing, check
func (s *State) reach(v *View, p *Policy, st *Step) {
	g := s.growth
	if !slices.Equal(s.stayed, v.Members) {
		s.hold = true
		st.is(Waiting, fmt.Sprintf("the membership is changing (%d to %d pods, some of them new): waiting until it has been quiet for %v",
			len(s.stayed), len(v.Members), p.Settle)+starting(v.Starting))
		return
	}
	if g == nil {
		s.atRest(v, st)
		return
	}
	if g.phase == planned {
		s.whilePlanned(v, p, st)
		return
	}
	if g.phase != checking && s.resolving(v, st) {
		return
	}
	if v.Gate.Needed && !v.Gate.Open && g.phase != checking {
		s.hold = true
		st.is(Waiting, "waiting for DNS: "+v.Gate.Why)
		return
	}
	switch g.phase {
	case atGate:
		s.open(v, p, st)
	case counting:
		s.count(v, p, st)
	case moving:
		s.move(v, p, st)
	case checking:
		s.check(v, p, st)
	}
}

// resolving reports whether the clients of removed pods are resolving again, and so find the
// new pods by themselves. A round under way counts again afterwards.
func (s *State) resolving(v *View, st *Step) bool {
	until := s.members.resolvedAt()
	if v.Now >= until && !s.members.rolling(v) {
		return false
	}
	s.growth.phase = atGate
	s.hold = len(without(established(v.Members, v.Uptime), []string{v.Self})) == 0 // no pod shows who is multi-homed
	if until > v.Now {
		st.wakeAt(until, v.Now)
	}
	st.is(Waiting, s.growth.describe()+": pods were removed as well, so clients are resolving again; this pod waits to see which of them find the new pods by themselves")
	return true
}

func starting(pods int) string {
	if pods == 0 {
		return ""
	}
	return fmt.Sprintf("; waiting for %d more to become ready, for at most %v", pods, startWait)
}

// atRest sets the verdict while no growth is under way. A pod that is new itself waits until
// DNS lists all pods, so that a wrong DNS name shows before it matters.
func (s *State) atRest(v *View, st *Step) {
	if s.joining && v.Gate.Needed && !v.Gate.Open {
		st.is(Waiting, "this pod is new, and clients cannot know all pods yet; waiting for DNS: "+v.Gate.Why)
		return
	}
	s.joining, s.hold = false, false
	if len(v.Members) == 1 && v.Unheard > 0 {
		st.is(Stale, fmt.Sprintf("0 of %d peers answer on the health port, so it is not known whether this pod is alone", v.Unheard))
		return
	}
	if len(v.Members) == 1 {
		st.is(Balanced, "this pod is alone: there is no other pod to move connections to")
		return
	}
	st.is(Balanced, fmt.Sprintf("no growth is under way (%d pods): no connection needs to move", len(v.Members)))
}

// open begins round 1. From now on, a client that resolves the name learns of all pods. Where
// no name is known, nothing was checked, and the note must not claim it.
func (s *State) open(v *View, p *Policy, st *Step) {
	g := s.growth
	if g.opened > 0 { // the round was interrupted: clients that came since then know all pods
		s.startCount(v, p, st)
		return
	}
	if v.Gate.Needed {
		g.opened = v.Gate.OpenSince
		st.note("dns-full", len(g.new), "%s: DNS lists all pods, %v after the membership became quiet",
			g.describe(), (v.Now - g.since).Round(100*time.Millisecond))
	} else {
		g.opened = v.Now
		st.note("no-dns", len(g.new), "%s: there is no DNS name to wait for, so clients are drained without that check", g.describe())
	}
	s.startCount(v, p, st)
}

// startCount queries other pods for the keys that this pod owns.
func (s *State) startCount(v *View, p *Policy, st *Step) {
	g := s.growth
	g.phase, g.drains = counting, g.drains[:0]
	g.owners = newOwners(g.eligible(v))
	g.witnesses = g.owners
	if len(g.owners.pods) == 1 && g.rollout {
		// Clients of the removed pods have resolved again: multi-homed ones are on young
		// pods too.
		g.witnesses = newOwners(union(without(g.old, g.new), s.members.beforeRemoval()))
	}
	s.ownedConns = g.owned(v, s.ownedConns[:0])
	s.queries++
	g.inquiry.begin(s.queries, keysOf(s.ownedConns), g.new, g.witnesses, v.Self)
	g.probed = g.probe(v, g.inquiry.keys, p)
	g.inquiry.alsoAsk(g.probed, union(g.owners.pods, g.new), v.Self)
	if len(g.inquiry.query.Keys) == 0 {
		s.startMoves(nil, v, p, st)
		return
	}
	st.Query = g.inquiry.query
	s.whileCounting("", v, st)
}

// whileCounting sets the verdict until the answers are complete.
func (s *State) whileCounting(more string, v *View, st *Step) {
	g := s.growth
	if g.atEase() {
		st.is(Balanced, nothingToDrain(v))
		return
	}
	st.is(Moving, fmt.Sprintf("%s, round %d: this pod queries the new pods for clients that have reached them%s", g.describe(), g.round, more))
}

// atEase reports whether the round before this one found nothing to drain. Then this one
// most likely finds nothing either: it only makes sure.
func (g *growth) atEase() bool { return g.round > 1 && g.total == 0 }

func nothingToDrain(v *View) string {
	return fmt.Sprintf("%d pods: this pod has no client left to drain for the new ones", len(v.Members))
}

// eligible returns the pods that may own keys: the established ones, without those that
// this pod has seen come and that clients may not have reached yet.
func (g *growth) eligible(v *View) []string {
	pods := established(g.old, v.Uptime)
	known := slices.DeleteFunc(slices.Clone(pods), func(pod string) bool {
		_, isNew := slices.BinarySearch(g.new, pod)
		return isNew && v.Uptime[pod] < establishedAt
	})
	if len(known) > 0 {
		return known
	}
	return pods
}

// count waits for the answers and turns them into this round's queue.
func (s *State) count(v *View, p *Policy, st *Step) {
	g := s.growth
	q := &g.inquiry
	if v.Counts == nil || v.Counts.Query != q.query.ID {
		st.Query = q.query
		s.whileCounting("", v, st)
		return
	}
	if q.take(v.Counts, s.queries+1, g.witnesses, v.Self) {
		s.queries++
		st.Query = q.query
		s.whileCounting("; it queries those again that did not answer", v, st)
		return
	}
	g.blind = !q.answered(g.new)
	if g.blind && g.round > 1 {
		s.finishBlind(v, st)
		return
	}
	queue := s.missing(v, p, st)
	g.findSubsets(v)
	s.startMoves(queue, v, p, st)
}

// finishBlind ends a growth whose reach cannot be checked because no new pod answers.
func (s *State) finishBlind(v *View, st *Step) {
	g := s.growth
	s.finish(st, "done", "%s: this pod sent %s, but cannot check reach because no new pod answers",
		g.describe(), plural(g.sent, "GOAWAY", "GOAWAYs"))
	s.atRest(v, st)
}

func (s *State) startMoves(queue []uint64, v *View, p *Policy, st *Step) {
	g := s.growth
	g.queue, g.total = queue, len(queue)
	if g.round > p.MaxRounds {
		s.giveUp(v, st)
		return
	}
	if p.DryRun {
		s.planReach(v, p, st)
		return
	}
	g.phase, g.began = moving, v.Now
	if len(queue) > 0 {
		s.pace.start(v.Now, len(queue), reachLength(len(queue), len(g.owners.pods), p))
		st.note("move", len(queue), "%s, round %d: this pod drains %s within %v, one per channel",
			g.describe(), g.round, plural(len(queue), "connection", "connections"), s.pace.length(len(queue)).Round(time.Millisecond))
	}
	s.move(v, p, st)
}

// move drains the connections that are due now.
func (s *State) move(v *View, p *Policy, st *Step) {
	g := s.growth
	n := s.pace.take(v, p, max(0, min(len(g.queue), g.mayWarm(v))))
	for _, id := range g.queue[:n] {
		st.Drains = append(st.Drains, Drain{ID: id, Reason: reason.Reach, Why: plural(len(g.new), "pod was added", "pods were added")})
	}
	g.queue = g.queue[n:]
	g.sent += n
	if len(g.queue) > 0 {
		st.wakeAt(s.pace.wake(v), v.Now)
		st.is(Moving, fmt.Sprintf("%s, round %d: this pod drains %s, one per channel%s",
			g.describe(), g.round, plural(g.total, "connection", "connections"), s.pace.why()))
		return
	}
	g.phase, g.sentAt, g.judged = checking, v.Now, false
	// All pods check at about the same time, also those that had nothing to drain.
	g.checkAt = max(v.Now, g.opened+roundLength(v.Serving, 1, p)) + p.CheckAfter
	if g.morePasses() { // the same round, for the clients that must wait
		g.checkAt = g.restUntil
		if g.total > 0 {
			g.checkAt = max(g.checkAt, v.Now+comesBack)
		}
	}
	s.check(v, p, st)
}

// mayWarm is how many connections may be drained so that no new pod gets more than its share
// while it warms up.
func (g *growth) mayWarm(v *View) int {
	warm := 1.0
	for i := range v.Peers {
		peer := &v.Peers[i]
		if _, isNew := slices.BinarySearch(g.new, peer.Pod); isNew && peer.Warm > 0 {
			warm = min(warm, peer.Warm)
		}
	}
	return max(1, int(warm*float64(g.total))) - (g.total - len(g.queue))
}

// check waits until the clients have had the time to reach the new pods. Then it begins
// the next round, in which each key has its next owner.
func (s *State) check(v *View, p *Policy, st *Step) {
	g := s.growth
	if g.blind {
		s.finishBlind(v, st)
		return
	}
	if s.judge(v, st) {
		return
	}
	if v.Now < g.checkAt && !s.allBack(v, st) {
		st.wakeAt(g.checkAt, v.Now)
		s.whileChecking(v, st)
		return
	}
	if g.morePasses() {
		s.learnSubsets(v)
		g.pass, g.restUntil, g.sampledBefore = g.pass+1, 0, g.sampled
		s.startCount(v, p, st)
		return
	}
	if s.endIfSingleHomed(v, st, 1./4) {
		return
	}
	g.round++
	g.pass, g.restUntil = 0, 0
	g.opened = v.Now
	s.startCount(v, p, st)
}

// allBack reports whether all whom this pass has drained as a sample are back, as multi-homed
// clients are at once.
func (s *State) allBack(v *View, st *Step) bool {
	g := s.growth
	if !g.sampled || g.sampledBefore || !g.morePasses() || g.total == 0 {
		return false
	}
	st.wakeAt(v.Now+sampleStep, v.Now)
	return g.stayedAway(v) == 0
}

// whileChecking sets the verdict until the check. A round that found nothing to do is as
// good as rest: it only goes on because another pod may have found something.
func (s *State) whileChecking(v *View, st *Step) {
	g := s.growth
	if g.total == 0 {
		st.is(Balanced, nothingToDrain(v))
		return
	}
	st.is(Checking, fmt.Sprintf("%s, round %d: this pod sent %s and checks reach once resolvers have had their 30 s",
		g.describe(), g.round, plural(g.total, "GOAWAY", "GOAWAYs")))
}

// giveUp ends a growth after the last round and names the pods that were not reached.
func (s *State) giveUp(v *View, st *Step) {
	g := s.growth
	if n := len(g.queue); n > 0 {
		s.unreached = n
		s.finish(st, "unreached", "%s: after %d rounds the clients of %s have still not reached every new pod (%s)",
			g.describe(), g.round-1, plural(n, "connection", "connections"), strings.Join(g.new, " "))
	} else {
		s.finish(st, "done", "%s: every client has reached the new pods; this pod sent %s", g.describe(), plural(g.sent, "GOAWAY", "GOAWAYs"))
	}
	s.atRest(v, st)
}

// allRoundsLast is the time after which all rounds of a growth are over on every pod, if
// the others have about as many connections.
func allRoundsLast(v *View, p *Policy) time.Duration {
	return longServing + time.Duration(p.MaxRounds)*roundLength(v.Serving, 1, p)
}

// Reaching reports whether this pod is making a growth known to multi-homed clients and
// has not seen yet where they went. Until then its load and those of the new pods mean
// nothing.
func (s *State) Reaching() bool { return s.reaching }

func (g *growth) reaching(now time.Duration) bool {
	if g == nil {
		return false
	}
	settling := g.phase == checking && g.total > 0 && now < g.sentAt+resolverWait
	return g.phase == counting && !g.atEase() || g.phase == moving || settling || g.morePasses()
}
