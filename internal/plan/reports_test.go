package plan_test

import (
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// Reports are polled in another package, at a pace on which planning leans.
func TestReportsAreFreshForSeveralPolls(t *testing.T) {
	if least := 5 * peerview.PollEvery; plan.ReportFresh < least {
		t.Errorf("a report is fresh for %v, want at least %v, so that a few lost polls do not stop a round", plan.ReportFresh, least)
	}
	if plan.LongestRest > peerview.PollEvery {
		t.Errorf("planning rests for %v, want at most %v, so that each report is seen", plan.LongestRest, peerview.PollEvery)
	}
}
