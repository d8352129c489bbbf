package caller

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// report is what a client saw in one interval, or in all of them.
type report struct {
	// T is when the interval began, in milliseconds since 1970.
	T int64 `json:"t"`
	// Calls counts answers by pod.
	Calls map[string]int `json:"calls"`
	// Failures counts failed RPCs. Errors counts the same RPCs by error text.
	Failures int            `json:"failures"`
	Errors   map[string]int `json:"errors,omitempty"`
	// Skipped counts calls that were due but not made, because too many were in
	// flight.
	Skipped int `json:"skipped,omitempty"`
	// Opened counts the connections that were opened.
	Opened int `json:"opened,omitempty"`
	// Total marks the last report, which is the sum of all others.
	Total bool `json:"total,omitempty"`
}

func newReport(at time.Time) *report {
	return &report{T: at.UnixMilli(), Calls: map[string]int{}, Errors: map[string]int{}}
}

func (r *report) add(from *report) {
	for pod, n := range from.Calls {
		r.Calls[pod] += n
	}
	for text, n := range from.Errors {
		r.Errors[text] += n
	}
	r.Failures += from.Failures
	r.Skipped += from.Skipped
	r.Opened += from.Opened
}

// tally counts calls. Its methods may be called from any goroutine.
type tally struct {
	mu      sync.Mutex
	current *report
	total   *report
}

func newTally(now time.Time) *tally {
	return &tally{current: newReport(now), total: newReport(now)}
}

func (t *tally) answered(pod string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.Calls[pod]++
}

func (t *tally) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.Failures++
	t.current.Errors[status.Code(err).String()+": "+status.Convert(err).Message()]++
}

func (t *tally) skipped() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.Skipped++
}

func (t *tally) opened() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.Opened++
}

// cut returns the report of the current interval and starts the next one at now.
func (t *tally) cut(now time.Time) *report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.current
	t.current = newReport(now)
	t.total.add(r)
	return r
}

// printJSON ignores errors: if nobody reads the output any longer, nobody needs to
// know.
func (r *report) printJSON(w io.Writer) {
	_ = json.NewEncoder(w).Encode(r) //nolint:errchkjson // see above
}

// print writes a summary for people.
func (r *report) print(w io.Writer) {
	all := 0
	for _, n := range r.Calls {
		all += n
	}
	fmt.Fprintf(w, "%d calls, %d failed\n", all, r.Failures)
	for _, pod := range slices.Sorted(maps.Keys(r.Calls)) {
		fmt.Fprintf(w, "  %-20s %8d  %5.1f %%\n", pod, r.Calls[pod], 100*float64(r.Calls[pod])/float64(all))
	}
	for _, text := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(w, "  %d x %s\n", r.Errors[text], text)
	}
	if r.Skipped > 0 {
		fmt.Fprintf(w, "  %d calls skipped: too many in flight\n", r.Skipped)
	}
}
