package rebalance

import (
	"context"

	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// drain drains the connections that planning chose.
func (b *Balancer) drain(drains []plan.Drain) {
	if len(drains) == 0 {
		return
	}
	ids := make([]uint64, len(drains))
	byID := make(map[uint64]*plan.Drain, len(drains))
	for i := range drains {
		d := &drains[i]
		ids[i], byID[d.ID] = d.ID, d
	}
	cfg := b.Config()
	for _, c := range b.reg.Pick(ids) {
		d := byID[c.ID()]
		grace := cfg.Rebalance.Grace
		if d.Reason == reason.Age {
			grace = cfg.Policy.MaxConnectionAgeGrace
		}
		c.Drain(d.Reason, d.Why, grace)
	}
}

// DrainAll drains every connection now (reason "manual") and returns how many it drained.
// A connection that its client has made within the last second, and has not used yet, is drained
// when it is a second old; each call within that second counts it. DrainAll does not wait for
// connections to close. Do not call it on several pods at the same moment: a client that all
// of them drain at once has nowhere to go.
func (b *Balancer) DrainAll(ctx context.Context) int {
	drained := b.reg.DrainAll(ctx, reason.Manual, "drained by the operator", b.Config().Rebalance.Grace)
	b.decided("manual", drained, "every connection was drained")
	return drained
}
