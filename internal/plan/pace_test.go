package plan

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func TestBudgetsBoundTheRate(t *testing.T) {
	f := newFleet(1, 100, 1)
	f.policy.MaxPerSecond = 5
	f.policy.MaxFractionPerMinute = 0.2
	f.run(time.Minute)
	f.scale(2)
	f.resolveAll()
	f.run(50 * time.Second)
	if got := f.goaways[reason.Reach]; got != 20 {
		t.Errorf("got %d GOAWAYs in the first minute, want a fifth of 100", got)
	}
	if most := mostInASecond(f.sentAt); most > 6 {
		t.Errorf("got %d GOAWAYs in a second, want 5", most)
	}
	f.run(10 * time.Minute)
	f.wantOnAll(t)
}

func TestShareOfAMinuteHoldsOverTheFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(10, 0, 1)
	f.policy.MaxFractionPerMinute = 0.1
	f.addSingleHomed(1000)
	f.run(2 * time.Minute)
	f.scale(20)
	f.resolveAll()
	f.run(15 * time.Minute)
	f.wantInBand(t)
	for i, at := range f.sentAt {
		n := 0
		for _, later := range f.sentAt[i:] {
			if later-at < time.Minute {
				n++
			}
		}
		if n > 100 {
			t.Fatalf("got %d GOAWAYs within a minute, want 100 at most, a tenth", n)
		}
	}
}
