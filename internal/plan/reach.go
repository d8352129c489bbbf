package plan

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func starting(pods int) string {
	if pods == 0 {
		return ""
	}
	return fmt.Sprintf("; waiting for %d more to become ready, %v at most", pods, startWait)
}

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
			len(s.stayed), len(s.seen), p.Settle)+starting(v.Starting))
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
	if g.text == "" {
		told := len(without(g.old, g.new)) // a pod may be old and still to be reached
		g.text = fmt.Sprintf("%d to %d pods", told, told+len(g.new))
	}
	return g.text
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
	g.phase, g.sent = counting, g.sent[:0]
	g.owners = newOwners(g.tellers(v))
	g.others = g.owners
	if len(g.owners.pods) == 1 && g.left {
		// Clients of the pods that left have looked at DNS again: those that are spread
		// are on young pods, too.
		g.others = newOwners(g.old)
	}
	s.own = g.ownConns(v, s.own[:0])
	s.asks++
	g.asked.begin(s.asks, keysOf(s.own), g.new, g.others, v.Self)
	if len(g.asked.ask.Keys) == 0 {
		s.startMoves(nil, v, p, st)
		return
	}
	st.Query = g.asked.ask
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

// firstRound is any number that makes the order another than that of the IDs.
const firstRound = 0x9e3779b97f4a7c15

// keysOf returns the keys of connections sorted by key, each once.
func keysOf(sorted []*Conn) []string {
	keys := make([]string, 0, len(sorted))
	for _, c := range sorted {
		if n := len(keys); n == 0 || keys[n-1] != c.Key {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// ownConns appends the connections whose keys this pod tells in this round, sorted by
// key, and for each key the oldest first: the youngest are those that came back. In the first
// round none has, and chance decides: the oldest of an address may all be sticky.
func (g *growth) ownConns(v *View, out []*Conn) []*Conn {
	key, own := "", false
	for i := range v.Conns {
		c := &v.Conns[i]
		if c.Draining {
			continue
		}
		if c.Key != key || i == 0 {
			key, own = c.Key, g.owners.of(c.Key, g.round) == v.Self
		}
		if own {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *Conn) int {
		byChance := 0
		if g.round == 1 {
			byChance = cmp.Compare(mix(a.ID, firstRound), mix(b.ID, firstRound))
		}
		return cmp.Or(cmp.Compare(a.Key, b.Key), byChance, cmp.Compare(a.ID, b.ID))
	})
	return out
}

// count waits for the answers and turns them into this round's queue.
func (s *State) count(v *View, p *Policy, st *Step) {
	g := s.growth
	q := &g.asked
	asking := fmt.Sprintf("%s, round %d: asking the new pods which clients have reached them", g.growthText(), g.round)
	if v.Counts == nil || v.Counts.Query != q.ask.ID {
		st.Query = q.ask
		st.is(Moving, asking)
		return
	}
	if q.take(v.Counts, s.asks+1, g.others, v.Self) {
		s.asks++
		st.Query = q.ask
		st.is(Moving, asking+", once more those that did not answer")
		return
	}
	g.blind = !q.answered(g.new)
	if g.blind && g.round > 1 {
		s.finish(st, "done", "%s: reach cannot be checked, no new pod answers; %d GOAWAYs sent from here", g.growthText(), g.moved)
		s.atRest(v, st)
		return
	}
	s.startMoves(s.short(v, p, st), v, p, st)
}

// short returns the connections to be asked in this round: for each key as many as the
// least well reached of the new pods lacks.
func (s *State) short(v *View, p *Policy, st *Step) []uint64 {
	g := s.growth
	s.own = g.ownConns(v, s.own[:0])
	queue := make([]uint64, 0, len(s.own))
	sticky, unknown := 0, 0
	for rest := s.own; len(rest) > 0; {
		var conns []*Conn
		conns, rest = cutKey(rest)
		switch s.kind(conns[0].Key) {
		case isSpread:
			before := len(queue)
			if queue = g.appendShort(queue, conns, v, p); len(queue) > before {
				g.sent = append(g.sent, sent{conns[0].Key, len(queue) - before})
			}
		case isSticky:
			sticky++
		case isUnknown:
			unknown++
		}
	}
	if sticky > 0 {
		st.note("left", sticky, "clients on one pod only: they are sticky, reach is not for them")
	}
	if unknown > 0 {
		st.note("left", unknown, "clients of which the pod that would know them does not tell: the next round asks another")
	}
	slices.Sort(queue)
	return queue
}

// kind is what a client is taken for.
type kind uint8

const (
	isSpread  kind = iota
	isSticky       // its witness does not hold it, or it did not come back to a pod that tells so
	isUnknown      // its witness did not answer, others did
	isNew          // it has come since it was asked for
)

// kind judges a key by its witness. Where there is none, or nobody at all can be asked,
// it is taken for a spread client: those are the ones that need to be told.
func (s *State) kind(key string) kind {
	q := &s.growth.asked
	i, asked := slices.BinarySearch(q.keys, key)
	n, known := q.witnessed(key)
	switch {
	case !asked:
		return isNew
	case known && n == 0, s.sticky[key], q.sticky[key]:
		return isSticky
	case !known && q.witness[i] != "" && len(q.counts) > 0:
		return isUnknown
	}
	return isSpread
}

// cutKey returns the connections of the first key, and the rest.
func cutKey(sorted []*Conn) (first, rest []*Conn) {
	n := 1
	for n < len(sorted) && sorted[n].Key == sorted[0].Key {
		n++
	}
	return sorted[:n], sorted[n:]
}

// appendShort appends those of one key's connections that shall leave: one for each channel
// that has not reached the new pods. A channel has a connection here and one to the witness;
// what one of the two has more are sticky connections of the same address.
func (g *growth) appendShort(queue []uint64, conns []*Conn, v *View, p *Policy) []uint64 {
	key, channels := conns[0].Key, len(conns)
	// A young witness, as in a rollout, has perhaps not been reached itself.
	if n, known := g.asked.witnessed(key); known && g.others == g.owners {
		channels = min(channels, n)
	}
	lack := channels - g.asked.reached(key, g.new)
	if g.round == 1 && 2*lack >= channels {
		// Some have looked at DNS by themselves. Which of the connections are theirs cannot
		// be seen: to ask as many fewer would leave out as many that know nothing, until the
		// next round. So each is asked; it is one GOAWAY per channel all the same.
		lack = channels
	}
	for _, c := range conns {
		switch {
		case lack <= 0 || g.round == 1 && c.Opened > g.opened:
			// Made after DNS answered in full: it has nothing to learn.
		case c.Returned && v.Now-c.Opened < p.Cooldown:
			g.rested = max(g.rested, c.Opened+p.Cooldown)
			lack--
		default:
			queue = append(queue, c.ID)
			lack--
		}
	}
	return queue
}

func (s *State) startMoves(queue []uint64, v *View, p *Policy, st *Step) {
	g := s.growth
	g.queue, g.total = queue, len(queue)
	if g.round > p.MaxRounds {
		s.giveUp(v, st)
		return
	}
	g.phase, g.began = moving, v.Now
	if len(queue) > 0 {
		s.pace.start(v.Now, len(queue), p)
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
		st.Drains = append(st.Drains, Drain{ID: id, Reason: reason.Reach, Why: plural(len(g.new), "pod was added", "pods were added")})
	}
	g.queue = g.queue[n:]
	g.moved += n
	if len(g.queue) > 0 {
		st.wakeAt(s.pace.wake(v), v.Now)
		st.is(Moving, fmt.Sprintf("%s, round %d: asking %d connections to leave, one per channel%s",
			g.growthText(), g.round, g.total, s.pace.why()))
		return
	}
	g.phase, g.told, g.judged = checking, v.Now, false
	// All pods look at about the same time, whoever had something to move.
	g.check = max(v.Now, g.opened+roundLength(len(v.Conns), p)) + p.CheckAfter
	if g.rested > 0 && !g.again {
		g.check = g.rested // the same round, for those that came back a moment ago
	}
	s.checkWhen(v, p, st)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// comesBack is how long after its GOAWAY a round_robin client may take to be back: it dials
// at once. If half are not, reach ends early, which costs no more than the later rounds for
// clients that are as slow as that.
const comesBack = 5 * time.Second

// checkWhen waits until the clients have had the time to come to the new pods, then begins
// the next round with whoever is next in the order of each key.
func (s *State) checkWhen(v *View, p *Policy, st *Step) {
	g := s.growth
	if g.blind {
		s.finish(st, "done", "%s: %d GOAWAYs sent from here; reach cannot be checked, no new pod answers", g.growthText(), g.moved)
		s.atRest(v, st)
		return
	}
	if s.judge(v, st) {
		return
	}
	if v.Now < g.check {
		st.wakeAt(g.check, v.Now)
		s.whileChecking(v, st)
		return
	}
	if g.rested > 0 && !g.again {
		g.again, g.rested = true, 0
		s.startCount(v, p, st)
		return
	}
	if s.endIfSticky(v, st, 1./4) {
		return
	}
	g.round++
	g.again, g.rested = false, 0
	g.opened = v.Now
	s.startCount(v, p, st)
}

// judge looks once in a round, before reach is looked at, which of its clients came back.
// Those that did not are sticky, and other pods learn of it, see Sticky. If even one did as
// spread clients do, the round goes on for its sake.
func (s *State) judge(v *View, st *Step) (ended bool) {
	g := s.growth
	if g.judged || g.rested > 0 && !g.again {
		return false
	}
	if at := g.told + comesBack; v.Now < at {
		st.wakeAt(at, v.Now)
		return false
	}
	g.judged = true
	away, known := g.away(v)
	if !known {
		return false
	}
	s.sticky = withKeys(s.sticky, away)
	return len(away) == len(g.sent) && s.endIfSticky(v, st, 1./2)
}

// away returns the clients that are back with less than three quarters of the connections
// that they were asked to close, and not with more than chance lets sticky ones come back: where
// both are behind one address, the channels show. It is not known where handlers name
// clients: they do so with the next RPC.
func (g *growth) away(v *View) (keys []string, known bool) {
	back := make(map[string]int, len(g.sent))
	for i := range v.Conns {
		switch c := &v.Conns[i]; {
		case c.Named:
			return nil, false
		case c.Returned && c.Opened >= g.began:
			back[c.Key]++
		}
	}
	for _, one := range g.sent {
		if n := back[one.key]; 4*n < 3*one.n && float64(n) <= byChance(one.n, len(v.Members)) {
			keys = append(keys, one.key)
		}
	}
	return keys, true
}

// byChance is how many of n sticky connections hardly ever come back to one of the pods: three
// standard deviations above the mean.
func byChance(n, pods int) float64 {
	p := 1 / float64(pods)
	return float64(n)*p + 3*math.Sqrt(float64(n)*p*(1-p))
}

// roundsLast is after how long all rounds of a growth are over on every pod, if the others have
// about as many connections.
func roundsLast(v *View, p *Policy) time.Duration {
	return longServing + time.Duration(p.MaxRounds)*roundLength(v.Serving, p)
}

// withKeys returns a copy of set with keys; set itself may be read elsewhere.
func withKeys(set map[string]bool, keys []string) map[string]bool {
	if len(keys) == 0 {
		return set
	}
	out := make(map[string]bool, len(set)+len(keys))
	maps.Copy(out, set)
	for _, key := range keys {
		out[key] = true
	}
	return out
}

// endIfSticky ends the growth if more than a share of the connections asked in this round
// stayed away: many sticky ones behind one address look like a spread client until then.
func (s *State) endIfSticky(v *View, st *Step, share float64) bool {
	g := s.growth
	n, all := g.stayedAway(v), g.total
	most := int(share * float64(all))
	if all < enoughTries/2 {
		most = max(all-1, 1) // of few, one that came back is enough; and one alone may have ended
	}
	if n <= most {
		return false
	}
	s.finish(st, "left", "%s: %d of %d connections that were asked to leave did not come back here: "+
		"their clients are sticky, evenness sees to them", g.growthText(), n, all)
	s.atRest(v, st)
	return true
}

// stayedAway is how many of those asked in this round did not come back. A round_robin
// client always does, since it dials the same address again.
func (g *growth) stayedAway(v *View) int {
	n := g.total
	for i := range v.Conns {
		if c := &v.Conns[i]; c.Returned && c.Opened >= g.began {
			n--
		}
	}
	return n
}

// whileChecking: a round that found nothing to do is as good as rest; it only goes on
// because another pod may have found something.
func (s *State) whileChecking(v *View, st *Step) {
	g := s.growth
	if g.total == 0 {
		st.is(Balanced, fmt.Sprintf("%d pods: no client of the new ones is left for this pod to tell", len(v.Members)))
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
	s.growth, s.told = nil, action != "unreached"
}
