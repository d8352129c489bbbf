package rebalance

import (
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// loadStatus are the loads as a person sees them.
type loadStatus struct {
	weight    string
	own, mean float64 // mean is 0 if it is not known
	band      Band
}

func (b *Balancer) loadStatus() loadStatus {
	cfg, sums := b.Config(), b.reg.Loads()
	l := loadStatus{weight: b.weight(&cfg), own: sums.Weight}
	if l.weight == config.WeightConnections {
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
	if !plan.Enough(len(all)-1, len(members)-1) {
		return l
	}
	for _, load := range all {
		l.mean += load / float64(len(all))
	}
	l.band = Band(plan.BandOf(l.mean, policyOf(&cfg, l.weight)))
	return l
}

// loadLately is the load of a pod that told of it within plan.ReportFresh. Who stops is no member.
func (p *peerBook) loadLately(id, weight string) (load float64, ok bool) {
	p.mu.Lock()
	r := p.reports[id]
	p.mu.Unlock()
	if r.at.IsZero() || time.Since(r.at) > plan.ReportFresh {
		return 0, false
	}
	return loadOf(&r.report, weight)
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
