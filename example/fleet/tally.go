package fleet

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Tally adds up the reports of several clients and measures how even their calls were.
// Its methods may be called from any goroutine.
type Tally struct {
	every time.Duration

	mu       sync.Mutex
	buckets  map[int64]map[string]int // calls by pod, by the number of the interval
	failures []Failure
	calls    int
}

// Failure is a kind of failed RPC in one interval.
type Failure struct {
	// At is the start of the interval.
	At time.Time
	// Text is "Code: message".
	Text string
	// Count is the number of failed RPCs.
	Count int
}

// NewTally returns a Tally for clients whose reports cover intervals of length every.
func NewTally(every time.Duration) *Tally {
	return &Tally{every: every, buckets: map[int64]map[string]int{}}
}

// Add adds one report of one client. It ignores totals, which would count calls twice.
func (t *Tally) Add(r Report) {
	if r.Total {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := r.T / t.every.Milliseconds()
	if t.buckets[i] == nil {
		t.buckets[i] = map[string]int{}
	}
	for pod, n := range r.Calls {
		t.buckets[i][pod] += n
		t.calls += n
	}
	for text, n := range r.Errors {
		t.failures = append(t.failures, Failure{At: time.UnixMilli(r.T), Text: text, Count: n})
	}
}

// Calls returns the number of all answered calls.
func (t *Tally) Calls() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls
}

// FailuresIn returns the failed RPCs of all clients, from the interval that contains
// from until to.
func (t *Tally) FailuresIn(from, to time.Time) []Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	from = from.Truncate(t.every)
	var out []Failure
	for _, f := range t.failures {
		if !f.At.Before(from) && f.At.Before(to) {
			out = append(out, f)
		}
	}
	return out
}

// Failed returns the number of the RPCs that FailuresIn returns.
func (t *Tally) Failed(from, to time.Time) int {
	n := 0
	for _, f := range t.FailuresIn(from, to) {
		n += f.Count
	}
	return n
}

// Window returns the calls by pod in the second that begins with the interval that
// contains from.
func (t *Tally) Window(from time.Time) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.windowLocked(t.index(from))
}

// index returns the number of the interval that contains at.
func (t *Tally) index(at time.Time) int64 { return at.UnixMilli() / t.every.Milliseconds() }

// perSecond returns the number of intervals in a second.
func (t *Tally) perSecond() int64 { return max(1, int64(time.Second/t.every)) }

func (t *Tally) windowLocked(first int64) map[string]int {
	sum := map[string]int{}
	for i := first; i < first+t.perSecond(); i++ {
		for pod, n := range t.buckets[i] {
			sum[pod] += n
		}
	}
	return sum
}

// EvenSince returns the first moment between from and to at which the calls became
// even and stayed so. It returns false if there was none.
//
// A second is even if the busiest of pods had at most limit times the mean. One second
// begins with each interval. The one at the moment returned is even, and so are four of
// five of those that begin within stay. The fifth allows for a machine that is busy
// with other work.
//
// Only seconds that end before to count, so the answer takes stay and another second.
func (t *Tally) EvenSince(from, to time.Time, pods []string, limit float64, stay time.Duration) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, need := t.index(from), max(1, int64(stay/t.every))
	var even []bool
	for i := first; i+t.perSecond() <= t.index(to); i++ {
		even = append(even, MaxOverMean(t.windowLocked(i), pods) <= limit)
	}
	for i := range even {
		if even[i] && staysEven(even[i:], int(need)) {
			return time.UnixMilli((first + int64(i)) * t.every.Milliseconds()), true
		}
	}
	return time.Time{}, false
}

// staysEven reports whether at least four of five of the first need seconds are even.
// It returns false if fewer are known.
func staysEven(even []bool, need int) bool {
	if len(even) < need {
		return false
	}
	n := 0
	for _, e := range even[:need] {
		if e {
			n++
		}
	}
	return 5*n >= 4*need
}

// Uneven is what MaxOverMean returns if there were no calls.
const Uneven = 1e9

// MaxOverMean returns the calls of the busiest of pods divided by their mean: 1 is
// perfectly even, and len(pods) means that one pod got all calls. A pod without calls
// counts; calls of pods that are not in pods do not. Without calls it returns Uneven.
func MaxOverMean(calls map[string]int, pods []string) float64 {
	busiest, sum := 0, 0
	for _, pod := range pods {
		busiest = max(busiest, calls[pod])
		sum += calls[pod]
	}
	if sum == 0 {
		return Uneven
	}
	return float64(busiest) * float64(len(pods)) / float64(sum)
}

// Pods returns the sorted names of all pods that have answered a call.
func (t *Tally) Pods() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[string]bool{}
	for _, b := range t.buckets {
		for pod := range b {
			all[pod] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
