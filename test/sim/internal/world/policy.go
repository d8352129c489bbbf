package world

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// DefaultPolicy is what config.Default comes to; a test holds it to that.
// requests makes requests per second the weight.
func DefaultPolicy(requests bool) plan.Policy {
	return plan.Policy{
		Enabled: true, Settle: 2 * time.Second, Spread: time.Second, Cooldown: 30 * time.Second,
		MaxPerSecond: 100, MaxFractionPerMinute: 1,
		CheckAfter: plan.DefaultCheckAfter, MaxRounds: plan.DefaultMaxRounds,
		Tolerance: 0.1, Floor: 0.7, Whole: !requests,
	}
}
