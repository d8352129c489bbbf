package rebalance

import (
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// reportKept is how long a report says anything of a pod's load.
const reportKept = time.Minute

// peers returns what those who serve besides self told of their load, sorted by pod, in
// a buffer that is used again at each call.
func (p *peerBook) peers(weight, self string) []plan.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, now, fresh := p.told[:0], time.Now(), p.freshLocked()
	for i := range p.listed {
		m := &p.listed[i]
		r := p.reports[m.id]
		age := now.Sub(r.at)
		switch {
		case m.id == self, m.Terminating, r.at.IsZero(), !r.report.Ready:
			continue
		case age > reportKept, m.Unproven && age >= fresh:
			continue
		}
		if load, ok := loadOf(&r.report, weight); ok {
			out = append(out, plan.Peer{Pod: m.id, Age: age, Load: load, Reaching: r.report.Reaching, Overloaded: r.report.Overloaded})
		}
	}
	p.told = out
	return out
}

// loadOf understands versions that told of connections only.
func loadOf(r *peerz.Report, weight string) (float64, bool) {
	load, ok := r.Loads[weight]
	if !ok && weight == config.WeightConnections {
		return float64(r.Connections - r.Draining), true
	}
	return load, ok
}
