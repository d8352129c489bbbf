package plan

import (
	"cmp"
	"encoding/binary"
	"math"
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
	single bool
}

// candidates returns connections that carry the load to give, and some to spare. why counts
// those that may not be drained.
//
// They are a fair sample: count and traffic move in proportion. If the idle went first, the
// new pods would get the connections that carry nothing. Before it come those that came back
// once, since their resolvers have looked again by now; after it those that were opened since
// the members changed, as most of them have been moved once already.
func (s *State) candidates(v *View, p *Policy, round uint64) (out []choice, why stuck) {
	e := &s.even
	e.ranks = e.ranks[:0]
	seed := xxhash.Sum64(binary.LittleEndian.AppendUint64([]byte(v.Self), round))
	for i := range v.Conns {
		c := &v.Conns[i]
		if !c.Draining && why.mayMove(c, s, v, p) {
			e.ranks = append(e.ranks, ranked{s.preference(c, seed), int32(i)})
		}
	}
	slices.SortFunc(e.ranks, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	for _, class := range []uint64{1 << 61, 2 << 61} {
		e.stratify(v, class, !p.Whole && !s.unexplained(p) && !s.calm(v))
	}
	sum, n := 0.0, 0
	for n < min(len(e.ranks), maxChosen) && (sum < spare*e.give || n < leastChosen) {
		sum += v.Conns[e.ranks[n].at].Weight
		n++
	}
	out = make([]choice, n)
	for i := range out {
		c := &v.Conns[e.ranks[i].at]
		out[i] = choice{c.ID, c.Key, c.Weight, c.Single}
	}
	return out, why
}

func (s *State) preference(c *Conn, seed uint64) uint64 {
	rank := mix(seed, c.ID) >> 8
	switch changed := s.members.changedAt(); {
	case changed > 0 && c.Opened > changed && c.FutileDrains != 1:
		rank |= 2 << 61
	case c.FutileDrains != 1:
		rank |= 1 << 61
	}
	return rank
}

// golden makes the order of a sequence in which each prefix is spread evenly: the multiples of
// the golden ratio, without their whole part.
const golden = 0x9e3779b97f4a7c15

// heavier is how much sooner a connection with more traffic is drained after a change, where loads
// are weighed: one with 16 times as much comes twice as soon. Fewer GOAWAYs move the same load,
// and hardly more idle connections stay behind.
const heavier = 0.25

// stratify orders the ranked connections of a class so that each prefix carries its part of
// the traffic, or slightly more.
func (e *evener) stratify(v *View, class uint64, weighed bool) {
	from, _ := slices.BinarySearchFunc(e.ranks, class, func(r ranked, class uint64) int { return cmp.Compare(r.rank, class) })
	to, _ := slices.BinarySearchFunc(e.ranks, class+1<<61, func(r ranked, class uint64) int { return cmp.Compare(r.rank, class) })
	part := e.ranks[from:to]
	if len(part) == 0 {
		return
	}
	traffic := func(r ranked) float64 {
		c := &v.Conns[r.at]
		return c.Weight + c.Rate + float64(c.Streams)
	}
	slices.SortFunc(part, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(traffic(a), traffic(b)), cmp.Compare(a.rank, b.rank))
	})
	offset, least := part[0].rank<<8, traffic(part[0])
	for i := range part {
		place := (uint64(i)*golden + offset) >> 3
		if weighed {
			place = uint64(float64(place) * math.Pow(least/traffic(part[i]), heavier))
		}
		part[i].rank = class + place
	}
	slices.SortFunc(part, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
}
