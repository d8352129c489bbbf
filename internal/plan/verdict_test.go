package plan

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func TestTooFewConnectionsStayWhereTheyAre(t *testing.T) {
	f := newFleet(3, 0, 1)
	f.addSingleHomed(3)
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.run(24 * time.Minute)
	if got := f.goaways[reason.Even]; got != 0 {
		t.Errorf("got %d GOAWAYs, want none: 3 connections cannot be even on 5 pods", got)
	}
	f.wantVerdicts(t, Unbalanceable)
}
