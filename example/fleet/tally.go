package fleet

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Tally adds up the reports of several clients and tells how even their calls were.
// Its methods may be called from any goroutine.
type Tally struct {
	every time.Duration

	mu       sync.Mutex
	buckets  map[int64]map[string]int // by the start of the interval over every
	failures []Failure
	calls    int
}

// Failure is a kind of failed RPC in one interval.
type Failure struct {
	// At is when the interval began.
	At time.Time
	// Text is "Code: message".
	Text string
	// Count is how many.
	Count int
}

// NewTally returns a Tally for clients that report every so often.
func NewTally(every time.Duration) *Tally {
	return &Tally{every: every, buckets: map[int64]map[string]int{}}
}

// Add takes one report of one client. Totals are left out: they repeat.
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

// Calls is how many calls were answered in all.
func (t *Tally) Calls() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls
}

// FailuresIn returns the failed RPCs of all clients from the interval of from on and
// before to.
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

// Failed is how many those are.
func (t *Tally) Failed(from, to time.Time) int {
	n := 0
	for _, f := range t.FailuresIn(from, to) {
		n += f.Count
	}
	return n
}

// Window returns the calls by pod in the second that begins with the interval of
// from.
func (t *Tally) Window(from time.Time) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.windowLocked(t.index(from))
}

// index is the interval that at lies in.
func (t *Tally) index(at time.Time) int64 { return at.UnixMilli() / t.every.Milliseconds() }

// perSecond is how many intervals make the window of a second.
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

// EvenSince returns the first moment, from the interval of from on and before to,
// at which the calls became and stayed even: in each window of a second that begins in the
// following stay, the fullest of pods had at most limit times the mean. Windows
// that are not over before to are not looked at, so that it takes stay and a
// second to know. It returns false if there is no such moment.
func (t *Tally) EvenSince(from, to time.Time, pods []string, limit float64, stay time.Duration) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	need := int(max(1, stay/t.every))
	run := 0
	for i := t.index(from); i+t.perSecond() <= t.index(to); i++ {
		if MaxOverMean(t.windowLocked(i), pods) > limit {
			run = 0
			continue
		}
		if run++; run == need {
			return time.UnixMilli((i - int64(need) + 1) * t.every.Milliseconds()), true
		}
	}
	return time.Time{}, false
}

// Uneven is what MaxOverMean returns where there were no calls.
const Uneven = 1e9

// MaxOverMean returns the calls of the fullest of pods over the mean of all of them:
// 1 is perfectly even, len(pods) is all on one. A pod without calls counts; pods
// that are not named do not. Without calls it returns Uneven.
func MaxOverMean(calls map[string]int, pods []string) float64 {
	fullest, sum := 0, 0
	for _, pod := range pods {
		fullest = max(fullest, calls[pod])
		sum += calls[pod]
	}
	if sum == 0 {
		return Uneven
	}
	return float64(fullest) * float64(len(pods)) / float64(sum)
}

// Pods returns the names of all that ever answered, sorted.
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
