package plan

import (
	"slices"
	"time"
)

// membership debounces the members for all rules. It decides which pods count, and since when
// they have been quiet.
//
// A pod that keeps coming and going is on probation after each return, longer each time.
// Until then it counts for nothing: no client is told of it, no load is moved for it, and no
// rule waits because of it.
type membership struct {
	listed  []string // View.Members as last seen
	counted []string // those that are not on probation
	pods    map[string]tenure
	nextEnd time.Duration // when the next probation ends; 0: there is none
	begunAt time.Duration // when there was the first view
	recent  []string      // listed pods whose return is not judged yet

	total    int              // the pods that are listed or starting
	totalAt  time.Duration    // when that number changed
	changes  [8]time.Duration // when the members changed, the latest first; 0: not that often yet
	sizes    [8]int           // how many there were before each
	added    time.Duration    // when pods were added last; 0: never
	removed  time.Duration    // when pods ceased to count last; 0: never
	stopped  time.Duration    // when a pod that stops in good order last did; 0: never
	replaced replacement
}

// tenure is a pod's time as a member.
type tenure struct {
	since, left time.Duration // left is 0 while it is listed
	returns     int           // in a row, each after a short tenure
	counts      time.Duration // on probation until then
	flipped     bool          // it returned as the same process
}

// replacement is a series of pods that are replaced: a rolling update, or nodes that are
// drained.
type replacement struct {
	from, last time.Duration // of the first and the last change; last is 0: never
	gap        time.Duration // the longest between two pods
	mixed      bool          // the pods ran several revisions
}

// observe takes note of the members. arrived are the pods that came, returned or restarted.
func (m *membership) observe(v *View) (changed bool, arrived []string) {
	if n := len(v.Members) + v.Starting; n != m.total {
		m.total, m.totalAt = n, v.Now
	}
	if m.pods == nil {
		m.begin(v)
		return true, nil
	}
	defer m.replaced.follow(v) // the last pod to be replaced belongs to the series too
	if len(v.Restarted) > 0 || !slices.Equal(m.listed, v.Members) {
		arrived = m.follow(v)
	}
	if len(m.recent) > 0 {
		m.judgeReturns(v)
	}
	if m.nextEnd == 0 && arrived == nil && slices.Equal(m.counted, m.listed) {
		return false, nil
	}
	return m.recount(v, arrived), arrived
}

func (m *membership) begin(v *View) {
	m.begunAt = v.Now
	m.listed, m.counted = slices.Clone(v.Members), slices.Clone(v.Members)
	m.pods = make(map[string]tenure, len(v.Members))
	for _, pod := range v.Members {
		m.pods[pod] = tenure{since: v.Now - v.Uptime[pod]}
	}
}

// follow updates the tenures, and returns the pods that came.
func (m *membership) follow(v *View) (arrived []string) {
	for _, pod := range without(m.listed, v.Members) {
		t := m.pods[pod]
		t.left = v.Now
		m.pods[pod] = t
		if _, stops := slices.BinarySearch(v.Stopping, pod); stops {
			delete(m.pods, pod) // another may come in its place
		}
	}
	arrived = without(v.Members, m.listed)
	for _, pod := range v.Restarted {
		if _, stayed := slices.BinarySearch(arrived, pod); !stayed && m.pods[pod].left == 0 {
			t := m.pods[pod]
			t.left = v.Now
			m.pods[pod], arrived = t, append(arrived, pod)
		}
	}
	slices.Sort(arrived)
	m.listed = slices.Clone(v.Members)
	for _, pod := range arrived {
		m.join(pod, v)
	}
	for pod, t := range m.pods {
		if t.left > 0 && v.Now-t.left > forgetPod {
			delete(m.pods, pod)
		}
	}
	return arrived
}

func (m *membership) join(pod string, v *View) {
	before, known := m.pods[pod]
	t := tenure{since: v.Now}
	if known && pod != v.Self {
		if before.left-before.since < longTenure {
			t.returns = before.returns + 1
		}
		t.left = before.left // until the return is judged
		t.counts = v.Now + max(judgeReturn, probation(t.returns, false))
		m.recent = append(m.recent, pod)
	}
	m.pods[pod] = t
}

// judgeReturns finds out whether returned pods are the same processes: then their readiness
// flips, or a source of members sees them only now and then.
func (m *membership) judgeReturns(v *View) {
	m.recent = slices.DeleteFunc(m.recent, func(pod string) bool {
		t, uptime, known := m.pods[pod], time.Duration(0), false
		if _, listed := slices.BinarySearch(m.listed, pod); listed {
			uptime, known = v.Uptime[pod]
		}
		if !known && v.Now-t.since < judgeReturn {
			return false
		}
		t.flipped = known && uptime > v.Now-t.left
		t.counts = t.since + probation(t.returns, t.flipped)
		if slices.Contains(m.listed, pod) {
			t.left = 0
		}
		m.pods[pod] = t
		return true
	})
}

// probation is how long a pod that has returned does not count.
//
//	returns after a short tenure   restarted   the same process
//	0                              0           1 min
//	1                              2 min       5 min
//	2                              10 min      10 min
//	3 and more                     30 min      30 min
func probation(returns int, flipped bool) time.Duration {
	switch {
	case returns == 0 && !flipped:
		return 0
	case returns == 0:
		return time.Minute
	case returns == 1 && !flipped:
		return 2 * time.Minute
	case returns == 1:
		return 5 * time.Minute
	case returns == 2:
		return 10 * time.Minute
	}
	return 30 * time.Minute
}

// recount finds the pods that count, and reports whether they changed. A pod that restarts
// without being missed is new, but none has left: its clients dial it again.
func (m *membership) recount(v *View, arrived []string) (changed bool) {
	counted := make([]string, 0, len(m.listed))
	m.nextEnd = 0
	for _, pod := range m.listed {
		if end := m.pods[pod].counts; end <= v.Now {
			counted = append(counted, pod)
		} else if m.nextEnd == 0 || end < m.nextEnd {
			m.nextEnd = end
		}
	}
	came := without(counted, m.counted)
	came = union(came, both(arrived, counted))
	gone := without(m.counted, counted)
	if len(both(gone, v.Stopping)) > 0 {
		m.stopped = v.Now
	}
	before := len(m.counted)
	m.counted = counted
	if len(came) == 0 && len(gone) == 0 {
		return false
	}
	replaces := len(came) > 0 || slices.ContainsFunc(gone, func(pod string) bool { return m.pods[pod].since < m.added })
	m.note(v.Now, before, len(came) > 0, len(gone) > 0)
	if replaces {
		m.noteReplaced(v.Now)
	}
	return true
}

// note records when the members changed, and how.
func (m *membership) note(now time.Duration, before int, came, gone bool) {
	if came {
		m.added = now
	}
	if gone {
		m.removed = now
	}
	copy(m.changes[1:], m.changes[:])
	copy(m.sizes[1:], m.sizes[:])
	m.changes[0], m.sizes[0] = now, before
}

// noteReplaced notices pods that have been replaced: they are as many again as there were a moment
// ago. It does not count if the one that left is the one that came.
func (m *membership) noteReplaced(now time.Duration) {
	if m.added == 0 || m.removed == 0 || max(m.added, m.removed)-min(m.added, m.removed) > rolloutGap {
		return
	}
	for i, at := range m.changes {
		if at > 0 && now-at <= rolloutGap && m.sizes[i] == len(m.counted) {
			m.replaced.note(min(m.added, m.removed), now)
			return
		}
	}
}

func (r *replacement) note(first, now time.Duration) {
	if r.last == 0 || now-r.last > longestPatience {
		*r = replacement{from: first, last: now, mixed: r.mixed}
		return
	}
	r.gap, r.last = max(r.gap, now-r.last), now
}

// follow ends the series when all pods run the same revision again.
func (r *replacement) follow(v *View) {
	switch {
	case v.Revisions > 1:
		r.mixed = true
	case v.Revisions == 1 && r.mixed:
		*r = replacement{}
	}
}

// rolling reports whether pods are being replaced: they run several revisions, or others have
// been replaced and some are older than the first of these. The next one is waited for twice as
// long as there was between two of them.
func (m *membership) rolling(v *View) bool {
	r := &m.replaced
	if r.last == 0 || v.Now >= r.last+longestPatience {
		return false
	}
	least := shortestPatience
	switch {
	case v.Revisions > 1:
		return true
	case v.Revisions == 1:
		least = knownPatience
	}
	if v.Now >= r.last+max(2*r.gap, least) {
		return false
	}
	return slices.ContainsFunc(m.counted, func(pod string) bool {
		return v.Uptime[pod] > v.Now-r.from+rolloutGap
	})
}

// changedAt is when the members changed last. To a pod that has just started its first view is
// a change: it does not know what was before.
func (m *membership) changedAt() time.Duration { return max(m.changes[0], m.begunAt) }

// onProbation is how many listed pods do not count.
func (m *membership) onProbation() int { return len(m.listed) - len(m.counted) }

// quietFrom is when the members that were added last have settled. Where it is known that no
// other pod is starting, there is nothing to wait for, unless the list has just changed: the
// pods of one scale-up are listed within a fraction of a second of one another.
func (m *membership) quietFrom(v *View, p *Policy) time.Duration {
	full := m.changedAt() + max(p.Settle, time.Millisecond)
	if v.StartingKnown && v.Revisions == 1 && !m.rolling(v) {
		return min(full, max(m.changedAt()+quickSettle, m.totalAt+p.Settle/4))
	}
	return full
}

// resolvedAt is when the clients of the pods that left last have resolved again. They most
// likely find the new pods by themselves: a rolling update needs no GOAWAYs but those of the
// pods that stop.
func (m *membership) resolvedAt() time.Duration {
	if m.removed == 0 || m.added-m.removed >= stopping {
		return 0
	}
	return m.removed + stopping + resolverWait
}

// beforeRemoval returns the pods that were there when one was removed last. Its clients have
// resolved again, and found them. A pod that has restarted or returned since then does not count,
// even if that is what the removal was: whoever resolved in between did not find it.
func (m *membership) beforeRemoval() []string {
	return slices.DeleteFunc(slices.Clone(m.counted), func(pod string) bool {
		return m.removed == 0 || m.pods[pod].since >= m.removed
	})
}

// evenFrom is when the membership has been quiet for long enough to move single-homed
// clients. While pods are added one by one, each move before the last is one too many. When
// one merely leaves, no other is expected.
func (m *membership) evenFrom(p *Policy) time.Duration {
	leaves := m.added < m.changes[0]
	gap, at := time.Duration(0), m.changes[0]
	for _, before := range m.changes[1:] {
		if before == 0 || at-before > rolloutGap || leaves {
			break
		}
		gap, at = max(gap, at-before), before
	}
	quiet := m.changes[0] + min(max(gap, p.Settle+proxyWait), longestLull)
	quiet = min(quiet, max(at+longestBurst, m.changes[0]+p.Settle+proxyWait))
	if m.stopped > 0 {
		quiet = max(quiet, m.stopped+stopping/2)
	}
	return quiet
}

// starting is how many pods are about to become members, without those that come and go.
func (m *membership) starting(v *View) int {
	n := v.Starting
	if n == 0 {
		return 0
	}
	for _, t := range m.pods {
		if t.left > 0 && t.flipped {
			n--
		}
	}
	return max(n, 0)
}
