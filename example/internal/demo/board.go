package demo

import (
	"fmt"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// board holds what all views show. The timeline and the fleets write to it, and views
// take snapshots of it.
type board struct {
	columns []*column
	started time.Time

	mu      sync.Mutex
	onEvent func(event) // may be nil
	events  []event
	phase   string
	table   string
	done    bool
}

// event is one line of the demo's log.
type event struct {
	Seconds float64 `json:"seconds"`
	Text    string  `json:"text"`
}

func (e event) String() string { return fmt.Sprintf("%6.1f s  %s", e.Seconds, e.Text) }

func newBoard() *board { return &board{started: time.Now()} }

// subscribe makes the board call f with each event from now on, one at a time.
func (b *board) subscribe(f func(event)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onEvent = f
}

func (b *board) logf(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := event{time.Since(b.started).Seconds(), fmt.Sprintf(format, args...)}
	b.events = append(b.events, e)
	if b.onEvent != nil {
		b.onEvent(e)
	}
}

func (b *board) setPhase(phase string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.phase = phase
}

func (b *board) finish(table string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.table, b.done = table, true
}

// snapshot is everything that a view shows. The page fetches it as JSON.
type snapshot struct {
	Seconds float64      `json:"seconds"`
	Phase   string       `json:"phase"`
	Columns []columnView `json:"columns"`
	Events  []event      `json:"events"`
	Table   string       `json:"table,omitempty"`
	Done    bool         `json:"done"`
}

type columnView struct {
	Title    string    `json:"title"`
	Pods     []podView `json:"pods"`
	GoAways  int       `json:"goaways"`
	Opened   int       `json:"opened"`
	Failures int       `json:"failures"`
	// Even is max/mean of the calls in the last second, or 0 if there were none.
	Even float64 `json:"even"`
	// Why explains the verdict of the first pod that is not balanced, or else of the
	// first pod.
	Why string `json:"why,omitempty"`
}

type podView struct {
	Name        string `json:"name"`
	PerSecond   int    `json:"perSecond"`
	Connections int    `json:"connections"`
	Verdict     string `json:"verdict,omitempty"`
	// Draining is true if the pod is still running, but no longer a member.
	Draining bool `json:"draining,omitempty"`
}

// shownEvents is how many of the latest events a snapshot has.
const shownEvents = 200

func (b *board) snapshot() snapshot {
	b.mu.Lock()
	s := snapshot{
		Seconds: time.Since(b.started).Seconds(), Phase: b.phase, Table: b.table, Done: b.done,
		Events: append([]event(nil), b.events[max(0, len(b.events)-shownEvents):]...),
	}
	b.mu.Unlock()
	now := time.Now()
	for _, c := range b.columns {
		s.Columns = append(s.Columns, c.view(now))
	}
	return s
}

// reportDelay is how long after the end of an interval the reports of all clients have
// arrived, with a margin for a busy machine.
const reportDelay = reportEvery + 100*time.Millisecond

// view returns the state of the fleet in the latest second that all clients have
// reported.
func (c *column) view(now time.Time) columnView {
	calls := c.tally.Window(now.Add(-time.Second - reportDelay))
	latest := c.sampleAt(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	v := columnView{Title: c.title, GoAways: latest.goaways, Opened: latest.opened, Failures: c.tally.Failed(time.Time{}, now)}
	if even := fleet.MaxOverMean(calls, c.members); even < fleet.Uneven {
		v.Even = even
	}
	for n := 1; n < c.next; n++ {
		name := podName(n)
		s := c.servers[name]
		if s == nil || s.Exited() {
			continue
		}
		st := c.status[name]
		p := podView{Name: name, PerSecond: calls[name], Connections: st.Connections, Draining: !c.memberLocked(name)}
		if c.id == withEvenkeel {
			p.Verdict = string(st.Verdict)
			if v.Why == "" || st.Verdict != "balanced" && !p.Draining {
				v.Why = st.Why
			}
		}
		v.Pods = append(v.Pods, p)
	}
	return v
}
