package world

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// report is what a pod tells another one.
type report struct {
	peerview.Summary

	share, warm, inFlight float32
	serving               int32
	paused                bool
}

func (w *World) reportOf(q *pod) report {
	warm := w.warm(q)
	r := report{
		Summary: peerview.Summary{
			Load: w.load(q), Streams: w.streams(q), Ready: !q.stopping, Reaching: q.state.Reaching(), Overloaded: q.hot,
		},
		share: float32(w.capacity(q) * warm * q.state.Relief()), warm: float32(warm),
		inFlight: float32(q.flying.Load), paused: q.state.Paused(), serving: int32(q.serving),
	}
	if w.cfg.Report != nil {
		w.cfg.Report(int(q.idx), &r.Summary)
	}
	return r
}

func (r *report) peer(id string, now time.Duration) (plan.Peer, bool) {
	p, ok := r.Peer(id, now)
	p.Share, p.Warm, p.InFlight, p.Paused, p.Serving = float64(r.share), float64(r.warm), float64(r.inFlight), r.paused, int(r.serving)
	return p, ok
}

func (w *World) capacity(p *pod) float64 {
	if w.cfg.Share == nil {
		return 1
	}
	return w.cfg.Share(int(p.idx))
}

// coldest is how warm a pod is at first, as in rebalance.
const coldest = 0.1

// warm is how far p has warmed up since the Service listed it first.
func (w *World) warm(p *pod) float64 {
	if w.cfg.Warmup == 0 || p.begun == 0 {
		return 1
	}
	if p.servedAt == 0 {
		return coldest
	}
	return min(1, coldest+(1-coldest)*float64(w.now-p.servedAt)/float64(w.cfg.Warmup))
}

// share is what p should carry, in proportion to other pods.
func (w *World) share(p *pod) float64 { return w.capacity(p) * w.warm(p) }

// group is the number of the group of pods that the same clients reach.
func (w *World) group(p *pod) int {
	if w.cfg.Zones == 0 {
		return 0
	}
	return w.zoneOf(p.idx) - 1
}

// outAfter is how long the membership must have lacked a pod until that drains its connections. It
// is the constant of internal/peerview.
const outAfter = 30 * time.Second

// noticeListing makes p notice that the Service lists it, or lists it no more. Others learn of it
// before p acts upon it, so that all know how many are out.
func (w *World) noticeListing(p *pod, v *version) {
	if v.has(p.idx) {
		p.listed, p.listedAt = true, w.now
		if p.servedAt == 0 {
			p.servedAt = w.now
		}
		w.setOut(p, false)
		return
	}
	if p.listed {
		w.setOut(p, true)
	}
}

func (w *World) setOut(p *pod, out bool) {
	if p.out == out {
		return
	}
	p.out = out
	if out {
		w.outPods++
		w.says(p, "is out of the Service")
		return
	}
	w.outPods--
}

// addEndpoints fills in what the source knows beside the members.
func (w *World) addEndpoints(p *pod, v *plan.View) {
	v.Self, v.Departed = p.id, p.departed
	v.Stopping = w.stoppingOf(p)
	if p.out {
		v.Out, v.OutPods = "the Service does not list this pod", w.outPods
	}
	if w.cfg.Net.ViewEvery > 0 || w.cfg.Net.HidesStarting {
		return
	}
	seen := w.seenBy(p)
	v.StartingKnown, v.Starting, v.Terminating, v.Zones = true, seen.startingAt(w.now), seen.terminating, seen.zones
	v.Revisions = seen.revisions
}

// stoppingOf are the pods that p knows to stop in good order.
func (w *World) stoppingOf(p *pod) []string {
	seen := w.seenBy(p)
	if p.unready == 0 {
		return seen.stopping
	}
	stopping := slices.Clone(seen.stopping)
	for i, other := range seen.pods {
		if w.reportedUnready(p, other) {
			stopping = append(stopping, seen.ids[i])
		}
	}
	slices.Sort(stopping)
	return stopping
}

// wordsOf is a sentence without its numbers, which change all the time.
func wordsOf(sentence string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' {
			return -1
		}
		return r
	}, sentence)
}

// recordStep keeps the verdict, and writes the transcript.
func (w *World) recordStep(p *pod, step *plan.Step) {
	changed := p.verdict != step.Verdict
	if changed {
		p.judged++
	}
	if w.cfg.Transcript != nil {
		for _, n := range step.Notes {
			w.says(p, fmt.Sprintf("%s %d: %s", n.Action, n.Count, n.Why))
		}
		if changed || wordsOf(p.why) != wordsOf(step.Why) {
			w.says(p, fmt.Sprintf("%s: %s", step.Verdict, step.Why))
		}
		if n := len(step.Drains); n > 0 {
			w.says(p, fmt.Sprintf("drains %d (%s), has %d", n, step.Drains[0].Reason, p.serving))
		}
	}
	p.verdict, p.why = step.Verdict, step.Why
}
