package plan

// judge finds, once in a round and before reach is checked, which of its clients came back.
// Those that did not are single-homed, and other pods learn of it, see SingleHomed. The
// round goes on even if a single client came back as multi-homed ones do.
func (s *State) judge(v *View, st *Step) (ended bool) {
	g := s.growth
	if g.judged || g.total == 0 {
		return false
	}
	if at := g.sentAt + comesBack; v.Now < at {
		st.wakeAt(at, v.Now)
		return false
	}
	g.judged = true
	s.learnSubsets(v)
	away, known := g.away(v)
	if !known {
		return false
	}
	if g.subsets {
		return false // those that are away have chosen other pods
	}
	s.clients.away(away, v.Now)
	return !g.morePasses() && len(away) == len(g.drains) && s.endIfSingleHomed(v, st, 1./2)
}

// away returns the clients that did not come back. They have less than three quarters of
// their drained connections, and no more than single-homed ones have by chance. If both
// kinds are behind one address, the channels show this way.
//
// It is not known where handlers set keys: they do so with the next RPC only.
func (g *growth) away(v *View) (keys []string, known bool) {
	back := make(map[string]int, len(g.drains))
	for i := range v.Conns {
		switch c := &v.Conns[i]; {
		case c.Named:
			return nil, false
		case c.Returned && c.Opened >= g.began:
			back[c.Key]++
		}
	}
	for _, d := range g.drains {
		if n := back[d.key]; 4*n < 3*d.n && float64(n) <= byChance(float64(d.n), 1/float64(len(v.Members))) {
			keys = append(keys, d.key)
		}
	}
	return keys, true
}

// endIfSingleHomed ends the growth if more than a share of this round's drained connections
// did not come back. Until then many single-homed clients behind one address look like a
// multi-homed one.
func (s *State) endIfSingleHomed(v *View, st *Step, share float64) bool {
	g := s.growth
	if g.subsets { // channels leave this pod for new ones
		return false
	}
	n, all := g.stayedAway(v), g.total
	most := int(share * float64(all))
	if all < enoughTries/2 {
		most = max(all-1, 1) // of few, one return is enough; and a single client may have exited
	}
	if n <= most {
		return false
	}
	s.finish(st, "ended", "%s: %d of %d drained connections did not come back here, so their clients are single-homed and are left to evenness",
		g.describe(), n, all)
	s.atRest(v, st)
	return true
}

// stayedAway is how many of this round's drained connections did not come back. A
// round_robin client always does, since it dials the same address again.
func (g *growth) stayedAway(v *View) int {
	n := g.total
	for i := range v.Conns {
		if c := &v.Conns[i]; c.Returned && c.Opened >= g.began {
			n--
		}
	}
	return n
}
