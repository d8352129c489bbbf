package plan

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func TestPinnedClientsAreLeftAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(2, 0, 1)
	f.addSingleHomed(40)
	for _, c := range f.singleHomed {
		c.pinned = true
	}
	f.run(time.Minute)
	f.scale(4)
	f.resolveAll()
	f.run(30 * time.Second)
	if got := f.goaways[reason.Even]; got > 30 {
		t.Errorf("got %d GOAWAYs for 40 clients, want a pause since the first ones all came back", got)
	}
	f.run(3 * time.Hour)
	before := f.goaways[reason.Even]
	if before == 0 || before > 3*40 {
		t.Errorf("got %d GOAWAYs for 40 pinned clients, want some, and 3 each at most", before)
	}
	if got := f.verdicts[f.pods[0]]; got != Unbalanceable {
		t.Errorf("got verdict %s, want unbalanceable", got)
	}
	f.run(4 * time.Hour)
	if more := f.goaways[reason.Even] - before; more != 0 {
		t.Errorf("got %d more GOAWAYs, want none", more)
	}
}
