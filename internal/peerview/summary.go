package peerview

import (
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

const (
	// PollEvery is the time from one poll to the next.
	PollEvery = time.Second
	// provenFor is how long a report proves that its pod serves: five polls.
	provenFor = 5 * PollEvery
	// ReportKept is how long a report says anything about its pod's load.
	ReportKept = time.Minute
	// QueryTimeout bounds one request of a query for keys.
	QueryTimeout = time.Second
)

// Summary is what counts of a pod's last report, by the weight in force.
type Summary struct {
	// At is when the report came, since an epoch of the caller's; 0: none has.
	At   time.Duration
	Load float64
	// Ready is false once the pod has begun to stop.
	Ready, Reaching, Overloaded bool
}

// Fresh reports whether the report still proves whether its pod serves, where reports of
// serving pods do so for the given time (see [ProvenFor]). That a pod stops counts for as
// long as the report is kept: it does not come back, though a source may list it for a while.
func (s *Summary) Fresh(now, proves time.Duration) bool {
	if !s.Ready {
		proves = ReportKept
	}
	return s.At > 0 && now-s.At < proves
}

// Peer returns the report as planning sees it, under the pod's id. It reports false if
// there is none, it is too old, or its pod is stopping.
func (s *Summary) Peer(id string, now time.Duration) (plan.Peer, bool) {
	age := now - s.At
	if s.At == 0 || !s.Ready || age > ReportKept {
		return plan.Peer{}, false
	}
	return plan.Peer{Pod: id, Age: age, Load: s.Load, Reaching: s.Reaching, Overloaded: s.Overloaded}, true
}

// ProvenFor returns how long a report of a serving pod proves that it serves. Where many
// pods have to prove it (unproven), each is polled only now and then: the report counts from
// one turn to the next but one, which is at most two walks over all pods, and then as
// long as in a small fleet.
func ProvenFor(pods int, unproven bool) time.Duration {
	if pods <= plan.PollAll || !unproven {
		return provenFor
	}
	polls := (pods + plan.PollHandful - 1) / plan.PollHandful
	return time.Duration(2*polls)*PollEvery + provenFor
}
