package kube

import "time"

// backWithin is how long a pod that was ready, and no longer is, still counts as starting. Its
// container may have restarted. A pod that stays away for longer was taken out of the Service.
const backWithin = time.Minute

// unready are the pods that have an address and are neither ready nor terminating.
type unready struct {
	wasReady map[string]bool      // by pod, of those that are listed
	since    map[string]time.Time // by unready pod; zero: it has never been ready
}

// note takes the pods that are listed at one moment.
func (u *unready) note(pods map[string]*found, now time.Time) {
	before := *u
	*u = unready{wasReady: make(map[string]bool, len(pods)), since: make(map[string]time.Time)}
	for key, f := range pods {
		u.wasReady[key] = f.ready || before.wasReady[key]
		if f.ready || f.terminating {
			continue
		}
		since, known := before.since[key]
		if !known && u.wasReady[key] {
			since = now
		}
		u.since[key] = since
	}
}

// starting returns how many pods are about to be ready.
func (u *unready) starting(now time.Time) int {
	n := 0
	for _, since := range u.since {
		if since.IsZero() || now.Sub(since) < backWithin {
			n++
		}
	}
	return n
}
