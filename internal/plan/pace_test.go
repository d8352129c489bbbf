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

// Each time walks over all connections: if there are many, several are drained at a time.
func TestWakesAreFewWithManyConnections(t *testing.T) {
	for n, want := range map[int]time.Duration{10: 10 * time.Millisecond, 20_000: 20 * time.Millisecond, 1_000_000: catchUp / 2} {
		c := &pacer{next: time.Hour + 10*time.Millisecond}
		if got := c.wake(&View{Now: time.Hour, Conns: make([]Conn, n)}) - time.Hour; got != want {
			t.Errorf("%d connections: got a wake-up after %v, want %v", n, got, want)
		}
	}
}
