package plan

import (
	"encoding/binary"
	"slices"
)

// witnessCount is how many other pods one round of evenness queries for all chosen keys. A
// multi-homed client is on any of them; two, since one may not answer.
const witnessCount = 2

// queryWitnesses queries other pods for the keys of the chosen connections. While it is not
// certain that multi-homed clients are on all pods, it also queries the owner of each key: that
// pod has drained the client, and knows whether it came back. In a large fleet these would be
// hundreds of pods with a key each.
func (s *State) queryWitnesses(id uint64, v *View) *Query {
	e := &s.even
	keys := make([]string, len(e.chosen))
	for i := range e.chosen {
		keys[i] = e.chosen[i].key
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	query := &Query{ID: id, Keys: map[string][]string{}}
	o := newOwners(e.possibleWitnesses(s.clients.era.reached, v))
	round := v.Self + string(binary.BigEndian.AppendUint64(nil, id))
	for n := 1; n <= min(witnessCount, len(o.pods)); n++ {
		query.Keys[o.of(round, n)] = keys
	}
	if s.growth == nil || s.growth.owners == nil || s.clients.era.reached || len(v.Members)-1 > PollAll {
		return query
	}
	for _, key := range keys {
		owner := s.growth.owners.of(key, 1)
		if held := query.Keys[owner]; owner != v.Self && len(held) < len(keys) {
			query.Keys[owner] = append(held, key)
		}
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
		if _, member := slices.BinarySearch(v.Members, peer.Pod); member && peer.Age <= ReportFresh && peer.Load < e.mean*share(peer.Share) {
			pods = append(pods, peer.Pod)
		}
	}
	return pods
}

// oneChannel is how many connections to one pod a channel may have (gRFC A105).
const oneChannel = 4

// held is what is known of one chosen key.
type held struct {
	here        []choice // this pod's connections, without those that are taken
	few         bool     // they may be those of one channel
	known       bool     // a witness answered
	most, least int      // how many a witness holds
	taken       bool
}

// movable returns those of the chosen connections that are drained. A client that another
// pod holds as often as this one is multi-homed and would come straight back. Of one that
// is here more often, the connections above that number may be drained.
//
// Few connections that no witness holds may be those of one channel, which resolves again only
// once it has lost all of them. So they are drained together.
func (s *State) movable(v *View, p *Policy) (queue []uint64, why stuck) {
	e := &s.even
	keys := s.held(v)
	give := e.give * (1 + rounding)
	for i := range e.chosen {
		c := &e.chosen[i]
		h := keys[c.key]
		n := h.movable(p)
		if s.clients.comeBack && h.most > 0 && h.least == 0 {
			n = 0 // it is on some of the pods, and would come back
		}
		why.serving++
		switch {
		case c.single && c.weight > give:
			why.heavy++
		case c.single:
			queue = append(queue, c.id)
			give -= c.weight
		case h.taken && (n == 0 || len(h.here) == 0):
		case !h.known:
			why.silent++
		case n == 0:
			why.multiHomed++
			kept := multiHomedKept
			if len(h.here) != h.most { // some are single-homed, and counts change
				kept = p.Cooldown
			}
			s.clients.everywhere(c.key, v.Now+kept)
		case c.weight > give:
			why.heavy++
		case h.few && h.most == 0:
			for _, one := range h.here {
				queue = append(queue, one.id)
				give -= one.weight
			}
			h.taken, h.here = true, nil
		default:
			queue = append(queue, c.id)
			give -= c.weight
			h.taken, h.here = true, slices.DeleteFunc(h.here, func(one choice) bool { return one.id == c.id })
		}
	}
	return queue, why
}

// movable is how many of a key's connections may be drained.
func (h *held) movable(p *Policy) int {
	n := len(h.here)
	if differs := max(h.most-n, n-h.least); !p.Whole && differs >= 2 && 10*differs >= n {
		return n // multi-homed clients are on all pods equally often
	}
	return max(0, n-h.most)
}

// held returns what this pod and the witnesses hold of the chosen keys. If a pod has found a
// key to be single-homed, the connections there do not count.
func (s *State) held(v *View) map[string]*held {
	e := &s.even
	keys := s.here(v)
	for pod, queried := range e.query.Keys {
		counts, ok := v.Counts.ByPod[pod]
		for _, key := range queried {
			n, h := counts[key], keys[key]
			if !ok || h == nil {
				continue
			}
			if v.Counts.SingleHomed[key] || s.clients.singleHomed[key] {
				n = 0
			}
			if !h.known {
				h.known, h.most, h.least = true, n, n
			}
			h.most, h.least = max(h.most, n), min(h.least, n)
		}
	}
	return keys
}

// here returns what this pod holds of the chosen keys.
func (s *State) here(v *View) map[string]*held {
	keys := make(map[string]*held, len(s.even.chosen))
	for i := range s.even.chosen {
		keys[s.even.chosen[i].key] = &held{}
	}
	for i := range v.Conns {
		c := &v.Conns[i]
		if h := keys[c.Key]; h != nil && !c.Draining && !c.Single {
			h.here = append(h.here, choice{c.ID, c.Key, c.Weight, false})
		}
	}
	for _, h := range keys {
		h.few = len(h.here) <= oneChannel
	}
	return keys
}
