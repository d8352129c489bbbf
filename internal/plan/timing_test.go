package plan

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// A rollout is over when the membership has been quiet for a while: until then each move may
// be undone.
func TestEvennessWaitsForTheEndOfARollout(t *testing.T) {
	f := newFleet(3, 0, 1)
	f.addSingleHomed(60)
	f.run(2 * time.Minute)
	for i := range 3 { // once all have been replaced, it is over
		f.replaceOldest(i)
		f.run(10 * time.Second)
		if n := f.goaways[reason.Even] + f.goaways[reason.Reach]; n != 0 {
			t.Fatalf("got %d GOAWAYs in the middle of the rollout, after pod %d, want none", n, i)
		}
	}
	f.run(2 * time.Minute)
	f.wantInBand(t)
}
