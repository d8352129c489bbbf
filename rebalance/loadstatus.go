package rebalance

import (
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// loadStatus are the loads as a person sees them, by the arithmetic of internal/plan.
type loadStatus struct {
	weight    string
	own, mean float64 // mean is 0 if it is not known
	band      Band
}

// loadTold is how old a report may be and still count for the mean: planning acts on
// none that is older.
const loadTold = 10 * time.Second

func (b *Balancer) loadStatus() loadStatus {
	cfg, sums := b.Config(), b.reg.Loads()
	l := loadStatus{weight: b.weight(&cfg), own: sums.Weight}
	if l.weight == WeightConnections {
		l.own = float64(sums.Connections)
	}
	members, stale := b.members()
	if stale != "" {
		return l
	}
	all := []float64{l.own}
	for _, m := range members {
		if load, ok := b.peers.loadLately(m.id, l.weight); ok && !m.self {
			all = append(all, load)
		}
	}
	if !enoughTold(len(all)-1, len(members)-1) {
		return l
	}
	for _, load := range all {
		l.mean += load / float64(len(all))
	}
	l.band = bandOf(l.mean, policyOf(&cfg, l.weight))
	return l
}

// loadLately is the load of a pod that told of it within loadTold. Who stops is no member.
func (p *peerBook) loadLately(id, weight string) (load float64, ok bool) {
	p.mu.Lock()
	r := p.reports[id]
	p.mu.Unlock()
	if r.at.IsZero() || time.Since(r.at) > loadTold {
		return 0, false
	}
	return loadOf(&r.report, weight)
}

// enoughTold is whether planning would act on so many reports: on more than half of those
// that should have come. Of many pods, a handful is asked each second.
func enoughTold(known, others int) bool {
	expected := float64(others)
	if others > plan.PollAll {
		expected *= 1 - math.Exp(-plan.PollHandful*loadTold.Seconds()/expected)
	}
	return others == 0 || float64(known) > expected/2
}

// fewConns is the under-load up to which less than one missing connection is left so.
const fewConns = 2

// bandOf is the band around a mean. Connections are moved whole: one above the mean is
// always allowed, and among very few one that is missing.
func bandOf(mean float64, p *plan.Policy) Band {
	if mean == 0 {
		return Band{}
	}
	band := Band{Over: mean * (1 + p.Tolerance), Under: mean * p.Floor}
	if p.Whole {
		band.Over = max(math.Ceil(band.Over*(1-1e-9)), math.Floor(mean*(1+1e-9))+1)
		if band.Under*(1-1e-9) < fewConns {
			band.Under = math.Floor(band.Under * (1 + 1e-9))
		}
	}
	return band
}

// ofReport is the load that a report tells, nil if it is too old or does not know the
// weight, and its age in seconds where that matters.
func (l *loadStatus) ofReport(r *peerReport) (load *float64, age float64) {
	since := time.Since(r.at)
	if since > reportFresh {
		age = math.Round(since.Seconds())
	}
	if told, ok := loadOf(&r.report, l.weight); ok && since <= reportKept {
		load = &told
	}
	return load, age
}
