package plan

import (
	"cmp"
	"slices"
)

// owned appends the connections whose keys this pod owns in this round, sorted by key, and
// for each key the oldest first: the youngest are those that came back. In the first round
// none has come back, and chance decides: the oldest of an address may all be single-homed.
func (g *growth) owned(v *View, out []*Conn) []*Conn {
	key, isOwner := "", false
	for i := range v.Conns {
		c := &v.Conns[i]
		if c.Draining || c.Single {
			continue
		}
		if c.Key != key || i == 0 {
			key, isOwner = c.Key, g.subsets || g.owners.of(c.Key, g.round) == v.Self
		}
		if isOwner {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *Conn) int {
		byChance := 0
		if g.round == 1 {
			byChance = cmp.Compare(mix(a.ID, golden), mix(b.ID, golden))
		}
		return cmp.Or(cmp.Compare(a.Key, b.Key), byChance, cmp.Compare(a.ID, b.ID))
	})
	return out
}

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

// cutKey returns the connections of the first key, and the rest.
func cutKey(sorted []*Conn) (first, rest []*Conn) {
	n := 1
	for n < len(sorted) && sorted[n].Key == sorted[0].Key {
		n++
	}
	return sorted[:n], sorted[n:]
}

// missing returns the connections to drain in this round: for each key as many as the
// least well reached of the new pods lacks.
func (s *State) missing(v *View, p *Policy, st *Step) []uint64 {
	g := s.growth
	s.ownedConns = g.owned(v, s.ownedConns[:0])
	queue := make([]uint64, 0, len(s.ownedConns))
	nSingle, nUnknown := 0, 0
	g.doubtful = g.differ(s.ownedConns)
	for rest := s.ownedConns; len(rest) > 0; {
		var conns []*Conn
		conns, rest = cutKey(rest)
		before := len(queue)
		switch s.kind(conns[0].Key, v) {
		case multiHomed:
			queue = g.appendMissing(queue, conns, v, p)
		case subset:
			queue = g.appendSubset(queue, conns, v, p)
		case singleHomed:
			nSingle++
		case unknown:
			nUnknown++
		}
		if n := len(queue) - before; n > 0 {
			g.drains = append(g.drains, keyDrains{conns[0].Key, n})
		}
	}
	if nSingle > 0 {
		st.note("skipped", nSingle, "%s left to evenness", plural(nSingle, "client is single-homed and is", "clients are single-homed and are"))
	}
	if nUnknown > 0 {
		st.note("skipped", nUnknown, "the witness of %s did not answer: the next round queries another pod", plural(nUnknown, "client", "clients"))
	}
	return queue
}

// kind is what reach takes a client for.
type kind uint8

const (
	multiHomed  kind = iota
	singleHomed      // its witness does not hold it, or another pod reports that it did not come back
	unknown          // its witness did not answer, others did
	arrived          // it has come since the query
	subset           // it is on some of the pods, and this one drains it
	foreign          // another pod drains it
)

// kind judges a key by its witness. If it has none, or if no pod at all answers, it counts
// as multi-homed: those are the clients that need to be drained. Without a witness, what an
// earlier growth has shown counts too.
func (s *State) kind(key string, v *View) kind {
	g := s.growth
	q := &g.inquiry
	if g.subsets {
		switch some, heaviest := g.holders(key, v.Self); {
		case some && heaviest && !s.clients.singleHomed[key] && !q.singleHomed[key] && !q.reachedAny(key, g.new):
			return subset
		case some || g.owners.of(key, g.round) != v.Self:
			return foreign
		}
	}
	i, queried := slices.BinarySearch(q.keys, key)
	n, known := q.witnessed(key)
	switch {
	case !queried:
		return arrived
	case known && n == 0, s.clients.singleHomed[key], q.singleHomed[key]:
		return singleHomed
	case q.witness[i] == "" && s.clients.wasSingleHomed(key, v.Now):
		return singleHomed
	case !known && q.witness[i] != "" && len(q.counts) > 0:
		return unknown
	}
	return multiHomed
}

// sampleOfKey is how many connections of a key are drained first if some of its clients are
// single-homed.
const sampleOfKey = 4

// appendMissing appends those of one key's connections that must be drained: one for each
// channel that has not reached the new pods. A channel has a connection here and one to
// the witness; those that one of the two has beyond that are single-homed connections of
// the same address.
func (g *growth) appendMissing(queue []uint64, conns []*Conn, v *View, p *Policy) []uint64 {
	key, channels := conns[0].Key, len(conns)
	// A young witness, as in a rollout, may not have been reached itself.
	if n, known := g.inquiry.witnessed(key); known && g.witnesses == g.owners {
		channels = min(channels, n)
		if !p.DryRun && (n != len(conns) || g.doubtful) && g.mixed(&channels, v) {
			return queue
		}
	}
	missing := channels - g.inquiry.reached(key, g.new)
	if g.round == 1 && 2*missing >= channels {
		// Some channels have resolved by themselves, and nothing shows which connections are
		// theirs. To drain as many fewer would leave out as many that know nothing, until the
		// next round. So all are drained; it is still one GOAWAY per channel.
		missing = channels - g.drainedBefore(conns)
	}
	for _, c := range conns {
		switch {
		case missing <= 0 || g.round == 1 && c.Opened >= g.opened:
			// Opened after DNS listed all pods: its client knows them.
		case c.Returned && v.Now-c.Opened < p.Cooldown && !p.DryRun:
			g.restUntil = max(g.restUntil, c.Opened+p.Cooldown)
			missing--
		default:
			queue = append(queue, c.ID)
			missing--
		}
	}
	return queue
}

// differ reports whether this pod and a witness hold different numbers of a key's connections.
// Then there are single-homed clients, and where two pods hold the same number it may be chance.
func (g *growth) differ(sorted []*Conn) bool {
	for rest := sorted; len(rest) > 0; {
		var conns []*Conn
		conns, rest = cutKey(rest)
		n, known := g.inquiry.witnessed(conns[0].Key)
		if known && n > 0 && max(n-len(conns), len(conns)-n) > 1 {
			return true
		}
	}
	return false
}

// mixed bounds the channels of a key if some of its clients are single-homed. What is drained
// before the proxies know the new pods comes back, and then looks multi-homed: so it waits.
// Then the first few show whether all are single-homed.
func (g *growth) mixed(channels *int, v *View) (wait bool) {
	proxies := g.changedAt + proxyWait
	switch {
	case g.round > 1 || !g.mayWait():
	case v.Now < proxies:
		g.restUntil = max(g.restUntil, proxies)
		return true
	case *channels > sampleOfKey && !g.sampledBefore:
		*channels, g.sampled = sampleOfKey, true
		g.restUntil = max(g.restUntil, v.Now+comesBack)
	}
	return false
}

// drainedBefore is how many of a key's connections an earlier pass of the first round has
// drained, and are back.
func (g *growth) drainedBefore(conns []*Conn) (n int) {
	for _, c := range conns {
		if g.pass > 0 && g.round == 1 && c.Returned && c.Opened >= g.opened {
			n++
		}
	}
	return n
}
