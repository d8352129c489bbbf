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

// EvenSince returns the first moment, from the interval of from on, at which the
// calls became and stayed even: a second begins there in which the fullest of pods
// had at most limit times the mean, and so it is in four of five of the seconds
// that begin (one with each interval) within stay. The fifth is for a machine that
// has other things to do, too. Seconds that are not over before to are not looked
// at, so that it takes stay and a second to know. It returns false if there is no
// such moment.
func (t *Tally) EvenSince(from, to time.Time, pods []string, limit float64, stay time.Duration) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, need := t.index(from), max(1, int64(stay/t.every))
	var even []bool
	for i := first; i+t.perSecond() <= t.index(to); i++ {
		even = append(even, MaxOverMean(t.windowLocked(i), pods) <= limit)
	}
	for i := range even {
		if even[i] && stays(even[i:], int(need)) {
			return time.UnixMilli((first + int64(i)) * t.every.Milliseconds()), true
		}
	}
	return time.Time{}, false
}

// stays: of the first need, all known, at least four of five are even.
func stays(even []bool, need int) bool {
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
