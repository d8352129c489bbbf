package world

import (
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// poll requests reports from some of the peers.
func (w *World) poll(p *pod, starts int32) {
	if p.dead || starts != p.starts {
		return
	}
	every := peerview.PollEvery
	if w.rests() && p.resting {
		every = w.cfg.RestTick
	}
	w.push(evPoll, w.now+every, p.idx, p.starts)
	w.askTotals(p)
	if len(p.polls) > 0 {
		w.push(evPolled, w.now+w.cfg.Net.ReportDelay, p.idx, 0)
	}
}

// pollNow polls without delay, for a pod at rest.
func (w *World) pollNow(p *pod) {
	w.askTotals(p)
	w.polled(p)
}

func (w *World) askTotals(p *pod) {
	p.polls = p.polls[:0]
	if p.version < 0 {
		return
	}
	for len(p.reports) < len(w.pods) {
		p.reports = append(p.reports, report{})
	}
	v := w.seenBy(p)
	p.rota.Next(v.pods, v.others(p.idx), w.mateOf(p), w.rng.Shuffle, func(other int32) bool {
		member := other != p.idx && v.has(other)
		if member {
			w.askTotal(p, w.pods[other])
		}
		return member
	})
}

// mateOf returns a function that reports whether another pod is in the zone of p; nil without
// zones.
func (w *World) mateOf(p *pod) func(other int32) bool {
	if w.cfg.Zones == 0 {
		return nil
	}
	return func(other int32) bool { return other != p.idx && w.zoneOf(other) == w.zoneOf(p.idx) }
}

func (w *World) askTotal(p, q *pod) {
	w.m.polled(p, q)
	if w.silent(q) || w.cfg.Net.ReportLoss > 0 && w.rng.Float64() < w.cfg.Net.ReportLoss {
		p.polls = append(p.polls, polledReport{pod: -1})
		return
	}
	p.polls = append(p.polls, polledReport{q.idx, w.reportOf(q)})
}

func (w *World) polled(p *pod) {
	if p.dead {
		return
	}
	for i := range p.polls {
		got := &p.polls[i]
		if got.pod < 0 {
			continue
		}
		old := &p.reports[got.pod]
		if old.At > 0 && !old.Ready {
			p.unready--
		}
		if !got.r.Ready {
			p.unready++
		}
		*old = got.r
		old.At = w.now
	}
	p.polls = p.polls[:0]
}

// sendQuery sends the questions of a Query, once.
func (w *World) sendQuery(p *pod, q *plan.Query) {
	if p.query != nil && p.query.ID == q.ID {
		return
	}
	p.query, p.counts = q, nil
	took := w.between(2*time.Millisecond, 10*time.Millisecond) + w.cfg.Net.ReportDelay
	for _, pod := range sortedPods(q) {
		if other := w.byID(p, pod); other == nil || w.silent(other) {
			took = peerview.QueryTimeout
		}
	}
	w.push(evAnswers, w.now+took, p.idx, int32(q.ID))
}

func (w *World) answersArrive(p *pod, id int32) {
	q := p.query
	if p.dead || q == nil || int32(q.ID) != id {
		return
	}
	counts := &plan.Counts{Query: q.ID, ByPod: map[string]map[string]int{}, SingleHomed: map[string]bool{}}
	for _, pod := range sortedPods(q) {
		other := w.byID(p, pod)
		lost := other == nil || w.silent(other) || w.cfg.Net.ReportLoss > 0 && w.rng.Float64() < w.cfg.Net.ReportLoss
		if lost || w.salt(other) != w.salt(p) { // hashes with another salt mean nothing: they are dropped
			w.m.queried(p, other, len(q.Keys[pod]), nil, 0)
			continue
		}
		counts.ByPod[pod] = w.countsOf(other, q.Keys[pod])
		singleHomed := 0
		for _, key := range q.Keys[pod] {
			if other.state.SingleHomed()[key] {
				counts.SingleHomed[key] = true
				singleHomed++
			}
		}
		w.m.queried(p, other, len(q.Keys[pod]), counts.ByPod[pod], singleHomed)
	}
	p.counts = counts
	w.poke(p)
}

func sortedPods(q *plan.Query) []string {
	pods := make([]string, 0, len(q.Keys))
	for pod := range q.Keys {
		pods = append(pods, pod)
	}
	slices.Sort(pods)
	return pods
}

// byID returns the pod with this ID if it is in p's version of the membership, or nil.
func (w *World) byID(p *pod, id string) *pod {
	if p.version < 0 {
		return nil
	}
	v := w.seenBy(p)
	if i, found := slices.BinarySearch(v.ids, id); found {
		return w.pods[v.pods[i]]
	}
	return nil
}

func (w *World) countsOf(p *pod, keys []string) map[string]int {
	counts := make(map[string]int, len(keys))
	for _, key := range keys {
		serving, _ := w.countKey(p, w.keyNumber(key))
		counts[key] = int(serving)
	}
	return counts
}
