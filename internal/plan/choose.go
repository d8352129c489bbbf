package plan

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

const (
	// maxChosen bounds the keys that one round queries.
	maxChosen = 4096
	// spare is how many times the load that should move is chosen: some connections will
	// turn out to be those of multi-homed clients.
	spare = 2
	// leastChosen is the least number of connections to choose, since some of few answers
	// may be lost.
	leastChosen = 16
	// multiHomedKept is how long a round leaves out the key of a multi-homed client.
	multiHomedKept = 10 * time.Minute
)

// rest is how long a client that came back is left alone, by how often in a row it did. A
// busy pick_first goes by its previous answer and may need a second GOAWAY. A client that
// comes back a third time is pinned to this pod.
//
//	1   the cooldown
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

// ranked is a connection's place in the order of preference; the lowest rank goes first.
type ranked struct {
	rank uint64
	at   int32 // in View.Conns
}

// choice is a connection that may be drained.
type choice struct {
	id     uint64
	key    string
	weight float64
}

// candidates returns connections that carry e.give of the load, and some to spare, the
// best first. why counts those that may not be drained.
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

// preference puts first the connections that are disturbed least and most likely to move:
//   - the idle before the busy;
//   - those that came back once, since their resolvers have looked again by now;
//   - the heavier, since fewer have to move then;
//   - and chance, different in each round.
func (e *evener) preference(c *Conn, seed uint64, p *Policy) uint64 {
	rank := mix(seed, c.ID) >> 8
	if c.Streams > 0 && p.Whole {
		rank |= 1 << 63
	}
	if c.FutileDrains == 0 {
		rank |= 1 << 62
	}
	if !p.Whole {
		// How often what should move is halved to get the weight: 0 to 15.
		rank |= uint64(min(max(math.Log2(e.give/c.Weight), 0), 15)) << 56
	}
	return rank
}
