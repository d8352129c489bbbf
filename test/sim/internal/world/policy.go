package world

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// DefaultPolicy is the policy that config.Default leads to; a test compares the two. With
// requests, the weight of a connection is its requests per second.
func DefaultPolicy(requests bool) plan.Policy {
	return plan.Policy{
		Enabled: true, Settle: 2 * time.Second, Spread: time.Second, Cooldown: 30 * time.Second,
		MaxPerSecond: 100, MaxFractionPerMinute: 1,
		CheckAfter: plan.DefaultCheckAfter, MaxRounds: plan.DefaultMaxRounds,
		Tolerance: 0.1, Floor: 0.7, Whole: !requests,
	}
}
