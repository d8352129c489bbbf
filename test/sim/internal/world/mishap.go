package world

import (
	"fmt"
	"strconv"
	"time"
)

// Every calls f n times, each d after the one before: first at from since Begin.
func (w *World) Every(from, d time.Duration, n int, f func(i int)) {
	for i := range n {
		w.At(from+time.Duration(i)*d, func() { f(i) })
	}
}

// SetReady changes whether pod i passes its readiness probe. It keeps serving either way. From
// now on it does not count for evenness.
func (w *World) SetReady(i int, ready bool) {
	p := w.pods[i]
	if !p.alive() {
		return
	}
	p.ready, p.unlisted, p.unsteady = ready, !ready, true
	w.says(p, fmt.Sprintf("readiness probe: %v", ready))
	w.endpointsChanged()
}

// Crash ends pod i as an exit of its container does. It is back at the same address after down,
// and ready 2 s later. From now on it does not count for evenness.
func (w *World) Crash(i int, down time.Duration) {
	p := w.pods[i]
	w.exit(p)
	w.says(p, "crashes")
	p.ready, p.unlisted, p.unsteady = false, false, true
	p.starting = true // Kubernetes goes on listing it, as one that is not ready
	w.endpointsChanged()
	w.after(down, func() { w.restart(p, 2*time.Second) })
}

// restart starts a dead pod again at its old address.
func (w *World) restart(p *pod, ready time.Duration) {
	fresh := w.blankPod(p.idx, w.now)
	fresh.tickNo, fresh.gate.set, fresh.starts = p.tickNo, p.gate.set+1, p.starts+1
	fresh.bytes, fresh.judged, fresh.unsteady, fresh.overFor = p.bytes, p.judged, p.unsteady, p.overFor
	*p = *fresh
	p.starting = true
	w.endpointsChanged()
	w.startLoops(p, w.now)
	starts := p.starts
	w.after(ready, func() {
		if p.starts == starts {
			w.becomesReady(p)
		}
	})
}

// RollQuickly replaces all pods one by one: a new pod is ready within every, an old one stops gap
// later, and the next new one begins. It returns the time since Begin at which the last one stops.
func (w *World) RollQuickly(every, gap time.Duration) time.Duration {
	w.revision++
	old := w.Alive()
	for i, pod := range old {
		at := every * time.Duration(i)
		w.after(at, func() { w.StartIn(every - gap) })
		w.after(at+every, func() { w.Stop(pod) })
	}
	return w.Now() + time.Duration(len(old))*every
}

// RollBatches replaces all pods, n at a time: once per every n new pods become ready, and then
// n old ones stop. It returns the time since Begin at which the last ones stop.
func (w *World) RollBatches(every time.Duration, n int) time.Duration {
	w.revision++
	old := w.Alive()
	for i, pod := range old {
		at := every * time.Duration(i/n)
		w.after(at, func() { w.StartIn(every - time.Second) })
		w.after(at+every, func() { w.Stop(pod) })
	}
	return w.Now() + time.Duration((len(old)+n-1)/n)*every
}

// stopTakes is a little longer than a pod takes from SIGTERM to its exit.
const stopTakes = 10 * time.Second

// RollInPlace replaces all pods one by one, the youngest first, as a StatefulSet does: a pod
// stops, begins again 10 s later with the same name and address, and is ready after ready more.
// The next one stops after every. It returns the time since Begin at which every has passed for
// the last one.
func (w *World) RollInPlace(every, ready time.Duration) time.Duration {
	w.revision++
	pods := w.Alive()
	for i := range pods {
		p := w.pods[pods[len(pods)-1-i]]
		at := time.Duration(i) * every
		w.after(at, func() { w.stop(p) })
		w.after(at+stopTakes, func() { w.restart(p, ready) })
	}
	return w.Now() + time.Duration(len(pods))*every
}

// Blind hides the membership from all pods for d.
func (w *World) Blind(d time.Duration) {
	w.blindUntil = w.now + d
	if w.cfg.Transcript != nil {
		w.cfg.Transcript(w.Now(), "all", fmt.Sprintf("the membership cannot be read for %v", d))
	}
}

// seenBy is the membership as p sees it. It must have seen one.
func (w *World) seenBy(p *pod) *version {
	if p.partial != nil {
		return p.partial
	}
	return w.versions[p.version]
}

// readPartly makes p see only what an answer of DNS has of its membership.
func (w *World) readPartly(p *pod) {
	if p.version < 0 || w.cfg.Net.Partial+w.cfg.Net.Split == 0 {
		return
	}
	p.partial = w.answer(w.versions[p.version])
	w.poke(p)
}

func (w *World) plain(p *pod) bool { return w.cfg.Plain != nil && w.cfg.Plain(int(p.idx)) }

// silent reports whether p answers no other pod.
func (w *World) silent(p *pod) bool { return p.dead || w.plain(p) }

func (w *World) salt(p *pod) int {
	if w.cfg.Salt == nil {
		return 0
	}
	return w.cfg.Salt(int(p.idx))
}

// keyAt is a key as p hashes it.
func (w *World) keyAt(p *pod, key int32) string {
	if salt := w.salt(p); salt != 0 {
		return w.keys[key] + "~" + strconv.Itoa(salt)
	}
	return w.keys[key]
}

// overloaded names the signal by which p is overloaded. It ends once a tenth is gone, as that of
// rebalance does.
func (w *World) overloaded(p *pod) string {
	limit := w.cfg.Limit
	if limit == 0 {
		return ""
	}
	p.hot = p.serving > limit || p.hot && p.serving > limit-limit/10
	if !p.hot {
		return ""
	}
	return "more connections are open than this pod can carry"
}
