package peerview

// View is what this pod knows of the membership at one moment.
type View struct {
	// Members are the pods that serve, in the order of their IDs, this one among them unless
	// Out is set.
	Members []Member
	// Self is the ID of this pod.
	Self string
	// Stale is why the view is not good enough to act on; empty if it is. The rest is then
	// empty.
	Stale string
	// Out is why this pod should carry no load although it lives; empty if it should. OutPods
	// is how many pods are known to be out, this one included.
	Out     string
	OutPods int
	// Starting is how many more pods are about to serve. StartingKnown reports whether these
	// are all that have begun to start.
	Starting      int
	StartingKnown bool
	// Revisions is how many revisions of their workload the members run; 0 if that is not known
	// of each.
	Revisions int
	// Terminating is how many other pods are known to be stopping.
	Terminating int
	// Stopping are the pods, sorted, that the source lists and that are no members because they
	// stop in good order.
	Stopping []string
	// Unheard is how many more pods are listed that count as members only once they answer,
	// and do not.
	Unheard int
	// Zones holds the zone of each member, if clients reach pods of one zone only; nil if
	// they reach all pods.
	Zones map[string]string
}

// View returns what is known now.
func (b *Book) View() View {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := View{Self: b.presence.id, Stale: b.staleLocked()}
	if v.Stale == "" && !b.presence.listed {
		v.Stale, v.Out = b.absentLocked()
	}
	if v.Stale != "" {
		return View{Stale: v.Stale}
	}
	for i := range b.members {
		m := &b.members[i]
		if b.servesLocked(m) {
			v.Members = append(v.Members, Member{ID: m.id, Addrs: m.addrs, Self: m.self})
		}
	}
	if v.Out != "" {
		v.OutPods = 1 + b.othersOutLocked()
	}
	v.Starting, v.StartingKnown = b.startingLocked()
	v.Terminating, v.Unheard, v.Zones = b.terminatingLocked(), b.unheardLocked(), b.zonesLocked()
	v.Revisions, v.Stopping = b.revisionsLocked(), b.stoppingLocked()
	return v
}

// Members returns the pods that serve, this one among them if it is listed. If the view is
// not good enough to act on, it returns the reason instead.
func (b *Book) Members() (serving []Member, stale string) {
	v := b.View()
	return v.Members, v.Stale
}

// terminatingLocked counts the other pods that are stopping: those of which the source knows
// it, and those that have just reported it.
func (b *Book) terminatingLocked() int {
	n, now := 0, b.now()
	for i := range b.members {
		m := &b.members[i]
		r := b.records[m.id]
		stops := r != nil && r.at > 0 && !r.report.Ready && now-r.at < provenFor
		if !m.self && (m.Terminating || stops) {
			n++
		}
	}
	return n
}

func (b *Book) stoppingLocked() []string {
	var out []string
	for i := range b.members {
		m := &b.members[i]
		r := b.records[m.id]
		if !m.self && !b.servesLocked(m) && (m.Terminating || r != nil && r.at > 0 && !r.report.Ready) {
			out = append(out, m.id)
		}
	}
	return out // the members are sorted
}

// unheardLocked leaves out pods that last reported that they were stopping: those have gone.
func (b *Book) unheardLocked() int {
	n := 0
	for i := range b.members {
		m := &b.members[i]
		if r := b.records[m.id]; m.Unproven && !m.Terminating && !b.servesLocked(m) && (r == nil || r.at == 0 || r.report.Ready) {
			n++
		}
	}
	return n
}

func (b *Book) revisionsLocked() int {
	all, now := map[string]bool{}, b.now()
	for i := range b.members {
		m := &b.members[i]
		r := b.records[m.id]
		switch {
		case !b.servesLocked(m):
		case m.self:
			all[b.opts.Revision] = true
		case r == nil || r.at == 0 || now-r.at > ReportKept:
			return 0
		default:
			all[r.report.Revision] = true
		}
	}
	if all[""] {
		return 0
	}
	return len(all)
}

func (b *Book) zonesLocked() map[string]string {
	zones := make(map[string]string, len(b.members))
	for i := range b.members {
		m := &b.members[i]
		if !b.servesLocked(m) {
			continue
		}
		if m.Zone == "" {
			return nil
		}
		zones[m.id] = m.Zone
	}
	if len(zones) == 0 {
		return nil
	}
	return zones
}

// othersOutLocked counts the other pods that say that they are out, and answer.
func (b *Book) othersOutLocked() int {
	n, now := 0, b.now()
	for id, r := range b.records {
		if id != b.presence.id && r.at > 0 && r.err == nil && r.report.Ready && r.report.Out && now-r.at < ReportKept {
			n++
		}
	}
	return n
}
