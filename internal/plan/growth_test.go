package plan

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// A Service may grow pod by pod, faster than a growth is over. It still costs one GOAWAY
// per channel and growth, since all pods agree on the owners.
func TestGrowthInSteps(t *testing.T) {
	f := newFleet(2, 40, 40)
	f.run(3 * time.Minute)
	for n := 3; n <= 8; n++ {
		f.scale(n)
		f.resolveAll()
		f.run(40 * time.Second)
	}
	f.run(5 * time.Minute)
	f.wantOnAll(t)
	if got, want := f.goaways[reason.Reach], 6*40; got != want {
		t.Errorf("got %d GOAWAYs for 40 channels and 6 growths, want %d", got, want)
	}
}

// Pods that become ready one after the other cost one GOAWAY per channel together, if it is
// known that more are starting. One that never becomes ready costs a moment only.
func TestGrowthWaitsForStartingPods(t *testing.T) {
	f := newFleet(2, 40, 40)
	f.run(3 * time.Minute)
	for n := 3; n <= 5; n++ {
		f.scale(n)
		f.resolveAll()
		f.starting = 6 - n
		f.run(8 * time.Second)
		if got := f.goaways[reason.Reach]; n < 5 && got != 0 {
			t.Fatalf("got %d GOAWAYs with %d pods starting, want none", got, f.starting)
		}
	}
	f.run(4 * time.Second)
	if got := f.goaways[reason.Reach]; got != 0 {
		t.Errorf("got %d GOAWAYs while the sixth pod is starting, want none yet", got)
	}
	f.run(30 * time.Second)
	f.wantOnAll(t)
	if got := f.goaways[reason.Reach]; got != 40 {
		t.Errorf("got %d GOAWAYs for 40 channels, want 40", got)
	}
}
