package plan

import (
	"cmp"
	"encoding/binary"
	"slices"

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
)

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

// candidates returns connections that carry the load to give, and some to spare. why counts
// those that may not be drained.
//
// They are a fair sample: count and traffic move in proportion. If the idle went first, the
// new pods would get the connections that carry nothing. Those that came back once go first,
// since their resolvers have looked again by now.
func (s *State) candidates(v *View, p *Policy, round uint64) (out []choice, why stuck) {
	e := &s.even
	e.ranks = e.ranks[:0]
	seed := xxhash.Sum64(binary.LittleEndian.AppendUint64([]byte(v.Self), round))
	for i := range v.Conns {
		c := &v.Conns[i]
		if !c.Draining && why.mayMove(c, s, v, p) {
			e.ranks = append(e.ranks, ranked{preference(c, seed), int32(i)})
		}
	}
	slices.SortFunc(e.ranks, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	e.stratify(v)
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

func preference(c *Conn, seed uint64) uint64 {
	rank := mix(seed, c.ID) >> 8
	if c.FutileDrains != 1 {
		rank |= 1 << 62
	}
	return rank
}

// golden makes the order of a sequence in which each prefix is spread evenly: the multiples of
// the golden ratio, without their whole part.
const golden = 0x9e3779b97f4a7c15

// stratify orders the ranked connections so that each prefix carries its part of the traffic.
func (e *evener) stratify(v *View) {
	once := slices.IndexFunc(e.ranks, func(r ranked) bool { return r.rank >= 1<<62 })
	if once < 0 {
		return
	}
	rest := e.ranks[once:]
	traffic := func(r ranked) float64 {
		c := &v.Conns[r.at]
		return max(c.Weight, 0) + c.Rate
	}
	slices.SortFunc(rest, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(traffic(a), traffic(b)), cmp.Compare(a.rank, b.rank))
	})
	offset := rest[0].rank << 8
	for i := range rest {
		rest[i].rank = uint64(i)*golden + offset
	}
	slices.SortFunc(rest, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
}
