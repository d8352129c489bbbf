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
	// ReportKept is how long a report counts as its pod's load.
	ReportKept = time.Minute
	// QueryTimeout bounds one request of a query for keys.
	QueryTimeout = time.Second
)

// Summary holds what counts of a pod's last report, by the weight in force.
type Summary struct {
	// At is when the report came, since an epoch of the caller's; 0: none has.
	At   time.Duration
	Load float64
	// Serving is the number of the connections that make Load.
	Serving int
	// Streams is the mean number of streams in flight if Load is a rate of RPCs, else 0.
	Streams float64
	// InFlight is the load of its drained connections whose streams go on.
	InFlight float64
	// Share is its share with all of its parts, Warm one of them alone. 0 stands for 1.
	Share, Warm float64
	// Ready is false once the pod has begun to stop.
	Ready, Reaching, Overloaded, Paused bool
}

// Fresh reports whether the report still decides whether its pod serves. The report of a
// serving pod does for the given time (see [ProvenFor]). The report of a stopping pod does
// for as long as it is kept: such a pod does not come back, though a source may still list it.
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
	return plan.Peer{
		Pod: id, Age: age, Load: s.Load, Serving: s.Serving, Streams: s.Streams, InFlight: s.InFlight, Share: s.Share, Warm: s.Warm,
		Reaching: s.Reaching, Overloaded: s.Overloaded, Paused: s.Paused,
	}, true
}

// ProvenFor returns how long a report of a serving pod proves that it serves. In a large
// fleet with unproven pods, each pod is polled only now and then. There the report counts
// for two walks over all pods, and then for as long as in a small fleet.
func ProvenFor(pods int, unproven bool) time.Duration {
	if pods <= plan.PollAll || !unproven {
		return provenFor
	}
	polls := (pods + plan.PollHandful - 1) / plan.PollHandful
	return time.Duration(2*polls)*PollEvery + provenFor
}
