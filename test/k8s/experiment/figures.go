package experiment

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// Constants of the measurement.
const (
	// Interval is the time from one report of a client to the next.
	Interval = 100 * time.Millisecond
	// EvenLimit defines an even load: over a second, the busiest pod has at most this many
	// times the mean of the calls.
	EvenLimit = 1.1
	// Stays is how long the calls must stay even from the first even second on.
	Stays = 5 * time.Second
	// ResolverPause is the time that grpc-go waits from one resolution to the next.
	ResolverPause = 30 * time.Second
)

// Phases of a run.
const (
	PhaseRest   = "rest"
	PhaseGrow   = "grow"
	PhaseShrink = "shrink"
	PhaseRegrow = "regrow"
	PhaseEnd    = "end"
)

// Figures is the result of one phase in one fleet.
type Figures struct {
	Phase string
	// From and To are the numbers of pods before and after. They are equal if the phase does
	// not scale.
	From, To int
	// Window is how long the phase took.
	Window time.Duration
	// Calls is the number of successful calls, Failed that of failed ones. Failures counts the
	// latter by their texts.
	Calls    int
	Failed   int
	Failures map[string]int
	// GoAways is the number of GOAWAYs that the servers sent. Opened is the number of
	// connections that the clients opened.
	GoAways, Opened int
	// Growth is set for a phase that adds pods.
	Growth *Growth
}

// Growth is how the load followed new pods.
type Growth struct {
	// ReadyAt is when the last pod was ready in the EndpointSlices. DNSFullAt is when DNS first
	// answered with all pods, zero if it never did. MayAskAt is when the last of the clients'
	// resolvers was allowed to query again.
	ReadyAt, DNSFullAt, MayAskAt time.Time
	// Even is the time from ReadyAt until the calls became and stayed even. Below 0: never.
	Even time.Duration
	// AfterDNS is the same, counted from when DNS answered in full and the resolvers were
	// allowed to query. Below 0: never.
	AfterDNS time.Duration
	// Early is the number of GOAWAYs before DNS answered in full. Late is the number of those
	// that came after the calls had been even for Stays.
	Early, Late int
}

// never stands for a duration until something that did not happen.
const never = -1 * time.Second

// Measure returns the figures of one fleet, by phase.
func Measure(records []Record, name string) (map[string]Figures, error) {
	v := newView(records, name)
	out := map[string]Figures{}
	for i := range len(v.marks) - 1 {
		f, err := v.phase(i)
		if err != nil {
			return nil, fmt.Errorf("fleet %s, phase %s: %w", name, v.marks[i].Phase, err)
		}
		out[f.Phase] = f
	}
	return out, nil
}

// view is the records of one fleet, grouped by kind.
type view struct {
	marks   []Record
	ready   []Record
	dns     []Record
	states  []Record
	calls   []Record
	queries []Record
	tally   *fleet.Tally
}

func newView(records []Record, name string) *view {
	v := &view{tally: fleet.NewTally(Interval)}
	for _, r := range records {
		if r.Fleet != name {
			continue
		}
		switch r.Kind {
		case Mark:
			v.marks = append(v.marks, r)
		case Ready:
			v.ready = append(v.ready, r)
		case DNS:
			v.dns = append(v.dns, r)
		case Pod:
			v.states = append(v.states, r)
		case Calls:
			v.calls = append(v.calls, r)
			v.tally.Add(*r.Report)
		case Query:
			v.queries = append(v.queries, r)
		}
	}
	return v
}

// phase measures the time from mark i to the next mark.
func (v *view) phase(i int) (Figures, error) {
	from, to := v.marks[i].At, v.marks[i+1].At
	f := Figures{
		Phase: v.marks[i].Phase, Window: to.Sub(from), Failures: map[string]int{},
		GoAways: v.goawaysAt(to) - v.goawaysAt(from),
	}
	for _, one := range v.tally.FailuresIn(from, to) {
		f.Failed += one.Count
		f.Failures[one.Text] += one.Count
	}
	for _, r := range within(v.calls, from, to) {
		f.Opened += r.Report.Opened
		for _, n := range r.Report.Calls {
			f.Calls += n
		}
	}
	if f.Calls == 0 {
		return f, fmt.Errorf("there were no calls between %v and %v", from, to)
	}
	f.From, f.To = v.replicasBefore(i), v.marks[i].Replicas
	if f.To > f.From {
		g, err := v.growth(f.To, from, to)
		if err != nil {
			return f, err
		}
		f.Growth = g
	}
	return f, nil
}

// replicasBefore returns the number of pods before mark i. For the first mark it is the mark's
// own number.
func (v *view) replicasBefore(i int) int {
	return v.marks[max(0, i-1)].Replicas
}

// growth measures how the load followed the new pods between from and to.
func (v *view) growth(after int, from, to time.Time) (*Growth, error) {
	g := &Growth{Even: never, AfterDNS: never}
	var members map[string]string
	for _, r := range within(v.ready, from, to) {
		if len(r.Addresses) == after {
			g.ReadyAt, members = r.At, r.Addresses
			break
		}
	}
	if members == nil {
		return nil, fmt.Errorf("there were never %d ready pods", after)
	}
	pods := slices.Sorted(maps.Keys(members))
	g.DNSFullAt = firstFull(within(v.dns, from, to), members)
	zero := v.zero(g)
	even, ok := v.tally.EvenSince(g.ReadyAt, to, pods, EvenLimit, Stays)
	if ok {
		g.Even = max(0, even.Sub(g.ReadyAt))
		g.Late = v.goawaysAt(to) - v.goawaysAt(even.Add(Stays))
	}
	if !g.DNSFullAt.IsZero() {
		g.Early = v.goawaysAt(g.DNSFullAt) - v.goawaysAt(from)
		if ok {
			g.AfterDNS = max(0, even.Sub(zero))
		}
	}
	return g, nil
}

// firstFull returns when DNS first answered with all members, zero if it never did.
func firstFull(answers []Record, members map[string]string) time.Time {
	for _, r := range answers {
		full := true
		for _, ip := range members {
			_, has := r.Addresses[ip]
			full = full && has
		}
		if full {
			return r.At
		}
	}
	return time.Time{}
}

// zero returns when the new pods were ready, DNS answered with them, and the resolvers were
// allowed to query. It sets MayAskAt.
func (v *view) zero(g *Growth) time.Time {
	for _, r := range v.queries {
		if may := r.At.Add(ResolverPause); r.At.Before(g.DNSFullAt) && may.After(g.MayAskAt) {
			g.MayAskAt = may
		}
	}
	return slices.MaxFunc([]time.Time{g.ReadyAt, g.DNSFullAt, g.MayAskAt}, time.Time.Compare)
}

// goawaysAt returns how many GOAWAYs all pods had sent, by each pod's last status before at.
// GOAWAYs that a pod sent after its last status are not counted.
func (v *view) goawaysAt(at time.Time) int {
	last := map[string]int{}
	for _, r := range v.states {
		if r.At.Before(at) {
			last[r.Name] = r.State.goaways()
		}
	}
	sum := 0
	for _, n := range last {
		sum += n
	}
	return sum
}

// within returns the records at or after from and before to.
func within(sorted []Record, from, to time.Time) []Record {
	first := firstFrom(sorted, from)
	return sorted[first:max(first, firstFrom(sorted, to))]
}

func firstFrom(sorted []Record, at time.Time) int {
	i, _ := slices.BinarySearchFunc(sorted, at, func(r Record, at time.Time) int { return r.At.Compare(at) })
	return i
}

// PerHour extrapolates a number from the phase to an hour.
func (f *Figures) PerHour(n int) float64 { return float64(n) / f.Window.Hours() }
