package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// reach tells the channels of spread clients about new pods: each channel of a
// round_robin client has exactly one connection to each pod, so that one GOAWAY
// per connection of one pod, the key's owner, is one GOAWAY per channel from the
// whole fleet.
//
//	not quiet            waiting, and a round under way pauses
//	DNS not in full      waiting
//	else                 ask who holds the keys, move what is short, look again
func (s *State) reach(v *View, p *Policy, st *Step) {
	g := s.growth
	if !slices.Equal(s.stayed, s.seen) {
		st.is(Waiting, fmt.Sprintf("the membership changes (%d to %d pods, new ones among them): waiting until it has been quiet for %v",
			len(s.stayed), len(s.seen), p.Settle))
		return
	}
	if g == nil {
		s.atRest(v, st)
		return
	}
	if v.Gate.Needed && !v.Gate.Open && g.phase != checking {
		st.is(Waiting, fmt.Sprintf("%s: waiting for DNS, %s", g.growthText(), v.Gate.Why))
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
		s.checkWhen(v, p, st)
	}
}

// atRest: nothing is under way. A pod that is new itself says so until clients can know
// of it; that its DNS name is wrong shows here, too, before it is needed.
func (s *State) atRest(v *View, st *Step) {
	if s.joining && v.Gate.Needed && !v.Gate.Open {
		st.is(Waiting, "this pod is new, its clients cannot know of all pods: waiting for DNS, "+v.Gate.Why)
		return
	}
	s.joining = false
	if len(v.Members) == 1 {
		st.is(Balanced, "this pod is alone: there is nowhere to move to")
		return
	}
	st.is(Balanced, fmt.Sprintf("%d pods, none added since their clients were told: no connection needs to move", len(v.Members)))
}

func (g *growth) growthText() string {
	told := len(without(g.old, g.new)) // a pod may be old and still to be reached
	return fmt.Sprintf("%d to %d pods", told, told+len(g.new))
}

// open begins round 1: from here on a client that asks DNS learns of all pods.
func (s *State) open(v *View, p *Policy, st *Step) {
	g := s.growth
	g.opened = v.Now
	if v.Gate.Needed {
		g.opened = v.Gate.OpenSince
	}
	st.note("dns-full", len(g.new), "%s and DNS answers in full, %v after the membership was quiet",
		g.growthText(), (v.Now - g.since).Round(100*time.Millisecond))
	s.startCount(v, p, st)
}

// startCount asks the pods that matter who holds the keys that are ours to tell.
func (s *State) startCount(v *View, p *Policy, st *Step) {
	g := s.growth
	g.phase = counting
	s.asks++
	g.ask = &Ask{ID: s.asks, Keys: map[string][]string{}}
	g.owners = newOwners(g.tellers(v))
	for _, key := range s.ownKeys(v) {
		if second := g.owners.other(key, v.Self); second != "" {
			g.ask.Keys[second] = append(g.ask.Keys[second], key)
		}
		for _, pod := range g.new {
			if pod != v.Self {
				g.ask.Keys[pod] = append(g.ask.Keys[pod], key)
			}
		}
	}
	if len(g.ask.Keys) == 0 {
		s.startMoves(nil, v, p, st)
		return
	}
	st.Ask = g.ask
	st.is(Moving, fmt.Sprintf("%s, round %d: asking the new pods which clients have reached them", g.growthText(), g.round))
}

// tellers are the pods that own keys: established, and not among those that this pod
// has seen come and not yet seen reached.
func (g *growth) tellers(v *View) []string {
	pods := established(g.old, v.Uptime)
	known := slices.DeleteFunc(slices.Clone(pods), func(pod string) bool {
		_, isNew := slices.BinarySearch(g.new, pod)
		return isNew && v.Uptime[pod] < longServing
	})
	if len(known) > 0 {
		return known
	}
	return pods
}

// ownKeys returns the keys that this pod tells in this round, sorted.
func (s *State) ownKeys(v *View) []string {
	g := s.growth
	own := map[string]struct{}{}
	for i := range v.Conns {
		if c := &v.Conns[i]; !c.Leaving && g.owners.of(c.Key, g.round) == v.Self {
			own[c.Key] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(own))
}

// count waits for the answers and turns them into this round's queue.
func (s *State) count(v *View, p *Policy, st *Step) {
	g := s.growth
	if v.Counts == nil || v.Counts.Ask != g.ask.ID {
		st.Ask = g.ask
		st.is(Moving, fmt.Sprintf("%s, round %d: asking the new pods which clients have reached them", g.growthText(), g.round))
		return
	}
	g.blind = !answered(v.Counts, g.new)
	if g.blind && g.round > 1 {
		s.finish(st, "done", "%s: reach cannot be checked, no new pod answers; %d GOAWAYs sent from here", g.growthText(), g.moved)
		s.atRest(v, st)
		return
	}
	s.startMoves(s.short(v, p, st), v, p, st)
}

func answered(c *Counts, pods []string) bool {
	return slices.ContainsFunc(pods, func(pod string) bool { return c.ByPod[pod] != nil })
}

// short returns the connections to be asked in this round: for each key as many as the
// least well reached of the new pods lacks.
func (s *State) short(v *View, p *Policy, st *Step) []uint64 {
	g := s.growth
	var queue []uint64
	sticky := 0
	for key, conns := range s.byKey(v) {
		if s.isSticky(key, v) {
			sticky++
			continue
		}
		lack := len(conns) - reached(key, v.Counts, g.new)
		for _, c := range conns {
			if lack <= 0 {
				break
			}
			if g.mayAsk(&c, v, p) {
				queue = append(queue, c.ID)
				lack--
			}
		}
	}
	if sticky > 0 {
		st.note("left", sticky, "clients on one pod only: they are sticky, reach is not for them")
	}
	slices.Sort(queue)
	return queue
}

// byKey groups the serving connections of the keys asked for, oldest first: the
// youngest are those that came back.
func (s *State) byKey(v *View) map[string][]Conn {
	asked := map[string][]Conn{}
	for _, keys := range s.growth.ask.Keys {
		for _, key := range keys {
			asked[key] = nil
		}
	}
	for _, c := range v.Conns {
		if _, ok := asked[c.Key]; ok && !c.Leaving {
			asked[c.Key] = append(asked[c.Key], c)
		}
	}
	for _, conns := range asked {
		slices.SortFunc(conns, func(a, b Conn) int { return cmp.Compare(a.ID, b.ID) })
	}
	return asked
}

// isSticky: another pod that was there before answers that it does not hold the key.
func (s *State) isSticky(key string, v *View) bool {
	second := s.growth.owners.other(key, v.Self)
	counts, ok := v.Counts.ByPod[second]
	return ok && counts[key] == 0
}

// reached is how many channels of key the least well reached new pod has. A pod that
// did not answer is left out: if none did, 0.
func reached(key string, counts *Counts, pods []string) int {
	least, answers := 0, false
	for _, pod := range pods {
		if byKey, ok := counts.ByPod[pod]; ok {
			if n := byKey[key]; !answers || n < least {
				least, answers = n, true
			}
		}
	}
	return least
}

// mayAsk: a connection made after DNS answered in full has nothing to learn in the
// first round, and one that came back rests for the cool-down.
func (g *growth) mayAsk(c *Conn, v *View, p *Policy) bool {
	if g.round == 1 && c.Opened > g.opened {
		return false
	}
	return !c.Returned || v.Now-c.Opened >= p.Cooldown
}

func (s *State) startMoves(queue []uint64, v *View, p *Policy, st *Step) {
	g := s.growth
	g.queue, g.total = queue, len(queue)
	if g.round > p.MaxRounds {
		s.giveUp(v, st)
		return
	}
	g.phase = moving
	s.pace.start(v.Now, len(queue), p)
	if len(queue) > 0 {
		st.note("move", len(queue), "%s, round %d: %d connections are asked to leave within %v, one per channel",
			g.growthText(), g.round, len(queue), s.pace.length(len(queue)).Round(time.Millisecond))
	}
	s.move(v, p, st)
}

// move asks what is due now.
func (s *State) move(v *View, p *Policy, st *Step) {
	g := s.growth
	n := s.pace.take(v, p, len(g.queue))
	for _, id := range g.queue[:n] {
		st.Moves = append(st.Moves, Move{ID: id, Reason: ReasonReach, Why: plural(len(g.new), "pod was added", "pods were added")})
	}
	g.queue = g.queue[n:]
	g.moved += n
	if len(g.queue) > 0 {
		st.wakeAt(s.pace.next, v.Now)
		st.is(Moving, fmt.Sprintf("%s, round %d: asking %d connections to leave, one per channel%s",
			g.growthText(), g.round, g.total, s.pace.why()))
		return
	}
	g.phase = checking
	// All pods look at about the same time, whoever had something to move.
	g.check = max(v.Now, g.opened+roundLength(len(v.Conns), p)) + p.CheckAfter
	s.checkWhen(v, p, st)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// checkWhen waits until the clients have had the time to come to the new pods, then begins
// the next round with whoever is next in the order of each key.
func (s *State) checkWhen(v *View, p *Policy, st *Step) {
	g := s.growth
	if g.blind {
		s.finish(st, "done", "%s: %d GOAWAYs sent from here; reach cannot be checked, no new pod answers", g.growthText(), g.moved)
		s.atRest(v, st)
		return
	}
	if v.Now < g.check {
		st.wakeAt(g.check, v.Now)
		s.whileChecking(v, st)
		return
	}
	g.round++
	g.opened = v.Now
	s.startCount(v, p, st)
}

// whileChecking: a later round that found nothing to do is as good as rest; it only
// goes on because another pod may have found something.
func (s *State) whileChecking(v *View, st *Step) {
	g := s.growth
	if g.round > 1 && g.total == 0 {
		st.is(Balanced, fmt.Sprintf("%d pods: every client that is this pod's to tell has reached the new ones", len(v.Members)))
		return
	}
	st.is(Moving, fmt.Sprintf("%s, round %d: %s from here; reach is checked once resolvers have had their 30 s",
		g.growthText(), g.round, plural(g.total, "GOAWAY", "GOAWAYs")))
}

// giveUp ends a growth after the last round and names what was not reached.
func (s *State) giveUp(v *View, st *Step) {
	g := s.growth
	if n := len(g.queue); n > 0 {
		s.unreached = n
		s.finish(st, "unreached", "%s: after %d rounds %d connections' clients have still not come to every new pod (%s)",
			g.growthText(), g.round-1, n, strings.Join(g.new, " "))
	} else {
		s.finish(st, "done", "%s: every client has reached the new pods; %d GOAWAYs sent from here", g.growthText(), g.moved)
	}
	s.atRest(v, st)
}

func (s *State) finish(st *Step, action, format string, args ...any) {
	st.note(action, s.growth.moved, format, args...)
	s.growth = nil
}
