package plan

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

const (
	// maxChosen bounds the questions of one round.
	maxChosen = 4096
	// spare is how many times as much as shall move is asked for: some will turn out to
	// be of spread clients.
	spare = 2
	// leastChosen are asked for at least, since some of few answers may be lost.
	leastChosen = 16
	// spreadKept is how long the key of a spread client is not asked for again.
	spreadKept = 10 * time.Minute
)

// rest is how long a client that came back is left alone, by how often in a row it did. A
// busy pick_first goes by its previous answer and may need a second GOAWAY; who
// comes back a third time is bound to this pod.
//
//	1   the cool-down
//	2   10 min
//	3   48 h
func rest(futile int, p *Policy) time.Duration {
	switch {
	case futile <= 1:
		return p.Cooldown
	case futile == 2:
		return 10 * time.Minute
	}
	return 48 * time.Hour
}

// stuck counts why connections could not be chosen.
type stuck struct {
	pinned, cooling, spread, heavy, silent, serving int
}

// cause is what most of the connections are kept by.
type cause uint8

const (
	notStuck cause = iota
	noLoad
	tooHeavy
	isPinned
	onAllPods
	nobodyTells
	resting
)

func (w *stuck) cause() cause {
	switch max(w.pinned, w.cooling, w.spread, w.heavy, w.silent) {
	case 0:
		return noLoad
	case w.heavy:
		return tooHeavy
	case w.pinned:
		return isPinned
	case w.spread:
		return onAllPods
	case w.silent:
		return nobodyTells
	}
	return resting
}

// text is a sentence that a person can act on.
func (w *stuck) text(p *Policy) string {
	switch w.cause() {
	case noLoad:
		return "this pod should give load away, and has no connection that carries any"
	case tooHeavy:
		return fmt.Sprintf("%d of %d connections carry more than what this pod has too much: to move one would only move the hot spot. "+
			"With a headless Service and round_robin each client would use all pods", w.heavy, w.serving)
	case isPinned:
		return fmt.Sprintf("%d of %d connections come back to this pod whenever they are asked to leave: "+
			"the Service has sessionAffinity, or their clients know no other pod", w.pinned, w.serving)
	case onAllPods:
		return fmt.Sprintf("%d of %d connections are of clients that are on the other pods as often (round_robin): to move one would change nothing",
			w.spread, w.serving)
	case nobodyTells:
		return "no other pod tells which clients it has, so that none can be chosen"
	}
	return fmt.Sprintf("%d of %d connections came back a moment ago and rest for %v (rebalance.cooldown)", w.cooling, w.serving, p.Cooldown)
}

// ranked is a connection's place in the order of preference, the least first.
type ranked struct {
	rank uint64
	at   int32 // in View.Conns
}

// choice is a connection that may leave.
type choice struct {
	id     uint64
	key    string
	weight float64
}

// candidates are connections that may leave so that e.give of the load does, and some to
// spare, the best first.
func (e *evener) candidates(v *View, p *Policy, round uint64) (out []choice, why stuck) {
	e.ranks = e.ranks[:0]
	seed := xxhash.Sum64(binary.LittleEndian.AppendUint64([]byte(v.Self), round))
	for i := range v.Conns {
		c := &v.Conns[i]
		if !c.Draining && why.mayMove(c, e, v, p) {
			e.ranks = append(e.ranks, ranked{e.preference(c, seed, p), int32(i)})
		}
	}
	slices.SortFunc(e.ranks, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	sum, n := 0.0, 0
	for n < min(len(e.ranks), maxChosen) && (sum < spare*e.give || n < leastChosen) {
		sum += v.Conns[e.ranks[n].at].Weight
		n++
	}
	out = make([]choice, n)
	for i := range out {
		c := &v.Conns[e.ranks[i].at]
		out[i] = choice{c.ID, c.Key, c.Weight}
	}
	return out, why
}

// mayMove counts why a connection may not.
func (w *stuck) mayMove(c *Conn, e *evener, v *View, p *Policy) bool {
	w.serving++
	switch {
	case c.Returned && v.Now-c.Opened < rest(c.FutileDrains, p):
		if c.FutileDrains > 1 {
			w.pinned++
		} else {
			w.cooling++
		}
	case c.Weight > e.give:
		w.heavy++
	case len(e.left) > 0 && e.left[c.Key] > v.Now:
		w.spread++
	default:
		return c.Weight > 0
	}
	return false
}

// preference puts first who is disturbed least and moves for sure: the idle before the
// busy; who came back once, since by now its resolver has looked again; the heavier, since
// fewer have to move then; and chance, another in each round.
func (e *evener) preference(c *Conn, seed uint64, p *Policy) uint64 {
	rank := mix(seed, c.ID) >> 8
	if c.Streams > 0 && p.Whole {
		rank |= 1 << 63
	}
	if c.FutileDrains == 0 {
		rank |= 1 << 62
	}
	if !p.Whole {
		// Halvings of what shall move: 0 to 15.
		rank |= uint64(min(max(math.Log2(e.give/c.Weight), 0), 15)) << 56
	}
	return rank
}

// witnesses are how many other pods are asked in one round for all keys chosen. A spread
// client is on any of them; two, since one may not answer.
const witnesses = 2

// askWitnesses asks other pods for the keys of connections.
func (e *evener) askWitnesses(id uint64, reached bool, v *View) *Query {
	keys := make([]string, len(e.chosen))
	for i := range e.chosen {
		keys[i] = e.chosen[i].key
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	ask := &Query{ID: id, Keys: map[string][]string{}}
	o := newOwners(e.telling(reached, v))
	round := v.Self + string(binary.BigEndian.AppendUint64(nil, id))
	for n := 1; n <= min(witnesses, len(o.pods)); n++ {
		ask.Keys[o.of(round, n)] = keys
	}
	return ask
}

// telling are the pods that can tell whether a client is spread: it is on all that it has
// reached. Among several the witnesses are others in each round, so that none is asked by all.
//
//	reached          those below the mean: whoever is spread is there, too, and of many
//	                 sticky connections behind one address they have few
//	else             established ones
//	there are none   any
func (e *evener) telling(reached bool, v *View) []string {
	if reached {
		if pods := e.emptier(v); len(pods) > 0 {
			return pods
		}
	}
	if pods := without(established(v.Members, v.Uptime), []string{v.Self}); len(pods) > 0 {
		return pods
	}
	return without(v.Members, []string{v.Self})
}

// emptier are the other pods that told lately of less than the mean.
func (e *evener) emptier(v *View) []string {
	var pods []string
	for _, peer := range v.Peers {
		if _, member := slices.BinarySearch(v.Members, peer.Pod); member && peer.Age <= ReportFresh && peer.Load < e.mean {
			pods = append(pods, peer.Pod)
		}
	}
	return pods
}

// movable are those of the chosen that leave. A client that another pod has as often as
// this one is spread over all of them and would come straight back; of one that is
// here more often, what is above may leave.
func (e *evener) movable(v *View) (queue []uint64, why stuck) {
	above, taken := e.above(v), make(map[string]bool, len(e.chosen))
	give := e.give
	for i := range e.chosen {
		c := &e.chosen[i]
		n, ok := above[c.key]
		why.serving++
		switch {
		case !ok:
			why.silent++
		case n == 0 && taken[c.key]:
		case n <= 0:
			why.spread++
			e.leave(c.key, v.Now)
		case c.weight > give*(1+1e-9):
			why.heavy++
		default:
			queue = append(queue, c.id)
			above[c.key]--
			taken[c.key] = true
			give -= c.weight
		}
	}
	return queue, why
}

// above returns by how many connections this pod holds each of the keys asked for more
// often than a pod that answered. A spread client is on all of them equally often; many sticky
// ones behind one address are not, and of those that a pod has found to be sticky all may leave.
func (e *evener) above(v *View) map[string]int {
	above := make(map[string]int, len(e.chosen))
	for pod, keys := range e.ask.Keys {
		counts, ok := v.Counts.ByPod[pod]
		for _, key := range keys {
			there := counts[key]
			if v.Counts.SingleHomed[key] {
				there = 0
			}
			if n, asked := above[key]; ok && asked {
				above[key] = max(n, -there)
			} else if ok {
				above[key] = -there
			}
		}
	}
	for i := range v.Conns {
		c := &v.Conns[i]
		if _, ok := above[c.Key]; ok && !c.Draining {
			above[c.Key]++
		}
	}
	return above
}

// leave notes the key of a spread client.
func (e *evener) leave(key string, now time.Duration) {
	if e.left == nil || len(e.left) >= maxChosen {
		e.left = map[string]time.Duration{}
	}
	e.left[key] = now + spreadKept
}
