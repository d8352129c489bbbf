package plan

import (
	"encoding/binary"
	"slices"
	"time"
)

// witnessCount is how many other pods one round of evenness queries for all chosen keys. A
// multi-homed client is on any of them; two, since one may not answer.
const witnessCount = 2

// queryWitnesses queries other pods for the keys of the chosen connections.
func (e *evener) queryWitnesses(id uint64, reached bool, v *View) *Query {
	keys := make([]string, len(e.chosen))
	for i := range e.chosen {
		keys[i] = e.chosen[i].key
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	query := &Query{ID: id, Keys: map[string][]string{}}
	o := newOwners(e.possibleWitnesses(reached, v))
	round := v.Self + string(binary.BigEndian.AppendUint64(nil, id))
	for n := 1; n <= min(witnessCount, len(o.pods)); n++ {
		query.Keys[o.of(round, n)] = keys
	}
	return query
}

// possibleWitnesses returns the pods that show whether a client is multi-homed: it is on all
// of those that it has reached. If there are several, each round takes others, so that
// no pod is queried by all.
//
//	reached          those below the mean: multi-homed clients are there too, and of many
//	                 single-homed ones behind one address they have few
//	else             established ones
//	there are none   any
func (e *evener) possibleWitnesses(reached bool, v *View) []string {
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

// emptier returns the other pods with a fresh report of less load than the mean.
func (e *evener) emptier(v *View) []string {
	var pods []string
	for _, peer := range v.Peers {
		if _, member := slices.BinarySearch(v.Members, peer.Pod); member && peer.Age <= ReportFresh && peer.Load < e.mean {
			pods = append(pods, peer.Pod)
		}
	}
	return pods
}

// movable returns those of the chosen connections that are drained. A client that another
// pod holds as often as this one is multi-homed and would come straight back. Of one that
// is here more often, the connections above that number may be drained.
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
			why.multiHomed++
			e.noteMultiHomed(c.key, v.Now)
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

// above returns how many more connections this pod holds of each queried key than a pod
// that answered. Multi-homed clients are on all pods equally often; many single-homed ones
// behind one address are not. If a pod has found a key to be single-homed, all its
// connections may be drained.
func (e *evener) above(v *View) map[string]int {
	above := make(map[string]int, len(e.chosen))
	for pod, keys := range e.query.Keys {
		counts, ok := v.Counts.ByPod[pod]
		for _, key := range keys {
			there := counts[key]
			if v.Counts.SingleHomed[key] {
				there = 0
			}
			if n, answered := above[key]; ok && answered {
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

// noteMultiHomed leaves out the key of a multi-homed client for a while.
func (e *evener) noteMultiHomed(key string, now time.Duration) {
	if e.multiHomedUntil == nil || len(e.multiHomedUntil) >= maxChosen {
		e.multiHomedUntil = map[string]time.Duration{}
	}
	e.multiHomedUntil[key] = now + multiHomedKept
}
