package plan

import "time"

const (
	// proxyWait is how long after a change kube-proxy may still send new
	// connections to the old pods only.
	proxyWait = 3 * time.Second
	// rolloutGap is the longest time between two changes of the membership that belong to
	// the same rollout. A rollout is over after a quiet time as long as the longest gap in
	// it, longestLull at most; after longestLull if pods were removed as well.
	rolloutGap  = time.Minute
	longestLull = 30 * time.Second
	// soonAfter a change imbalance is expected and need not last for lastsLater.
	soonAfter  = 10 * time.Minute
	lastsSoon  = 2 * time.Second
	lastsLater = 20 * time.Second
	// landing is how long a client takes to connect to another pod, and to be counted.
	landing = time.Second
	// queryPause is the time between two queries of which the first was lost.
	queryPause = 200 * time.Millisecond
	// lossy is how long a round waits for fresh reports if some were lost.
	lossy = 3 * time.Second
	// weighing is how long it takes until the weight of a connection that landed shows.
	weighing = 10 * time.Second
)

// mustLast is how long a pod must have been out of the band.
func (s *State) mustLast(v *View) time.Duration {
	switch {
	case v.Now-s.changedAt >= soonAfter:
		return lastsLater
	case len(v.Members)-1 > PollAll:
		return 0 // this pod rarely sees the few under-loaded ones twice
	}
	return lastsSoon
}

// quietFrom is when the membership has been quiet for long enough to move single-homed
// clients. In a rollout each move before its end is one too many.
func (s *State) quietFrom(p *Policy) time.Duration {
	least := p.Settle + proxyWait
	gap, at := time.Duration(0), s.changedAt
	for _, before := range s.changes[1:] {
		if before == 0 || at-before > rolloutGap {
			break
		}
		gap, at = max(gap, at-before), before
	}
	quiet := min(gap, longestLull)
	if s.removedAt > 0 && max(s.addedAt, s.removedAt)-min(s.addedAt, s.removedAt) < rolloutGap && s.changedAt-s.removedAt < rolloutGap {
		quiet = longestLull // pods are replaced
	}
	return s.changedAt + max(quiet, least)
}

// interval is the least time between two rounds. It lasts until the clients are on another
// pod, and the pods have reported it.
func (e *evener) interval(v *View, p *Policy) time.Duration {
	switch {
	case len(v.Members)-1 > PollAll:
		return landing + ReportFresh // so that no report from before counts
	case p.Whole:
		return landing + 2*time.Second
	}
	return weighing
}
