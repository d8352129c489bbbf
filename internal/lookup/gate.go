package lookup

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Gate is open while DNS gives clients every wanted pod, as [GateState] decides. A failed
// lookup closes it like an answer that lacks a pod: without knowledge nothing is moved.
//
// Its methods are safe for concurrent use.
type Gate struct {
	resolver Lookuper
	name     string
	wake     chan struct{} // wakes Run after the wanted set has changed
	changed  chan struct{}

	mu         sync.Mutex
	wanted     [][]netip.Addr
	state      GateState
	missing    []netip.Addr
	err        error
	lookups    uint64
	lastAnswer time.Time // when the last lookup ended
}

// Status is what a [Gate] knows.
type Status struct {
	// Wanted is the number of pods that an answer must have.
	Wanted int
	// Missing has the first address of each pod that the last answer lacked. Before the
	// first answer it has all of them.
	Missing []netip.Addr
	// FullInARow is the number of full answers since the last one that was not full.
	FullInARow int
	// Open reports whether connections may be moved. It is false with no pod wanted.
	Open bool
	// OpenSince is when the gate opened; zero while it is closed.
	OpenSince time.Time
	// WaitingSince is when the gate closed; zero while it is open or no pod is wanted.
	WaitingSince time.Time
	// Err is why the last lookup failed; nil if it did not.
	Err error
	// Lookups is the number of lookups ever made.
	Lookups uint64
}

// NewGate returns a closed gate for name. It makes no lookup before [Gate.Run] and
// [Gate.Want] are called.
func NewGate(resolver Lookuper, name string) *Gate {
	return &Gate{
		resolver: resolver,
		name:     name,
		wake:     make(chan struct{}, 1),
		changed:  make(chan struct{}, 1),
	}
}

// Want sets the pods that an answer must have, each by its addresses. Any one of them is
// enough: a name may have only the A records of pods that have both families. A pod
// without addresses is left out.
//
// The same set in another order changes nothing. Another set closes the gate and starts
// over. With an empty set the gate rests and makes no lookup.
func (g *Gate) Want(pods [][]netip.Addr) {
	wanted := canonical(pods)
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.EqualFunc(wanted, g.wanted, slices.Equal) {
		return
	}
	g.wanted = wanted
	g.missing, g.err = missing(wanted, nil), nil
	g.state.Reset(len(wanted), time.Now())
	signal(g.wake)
	signal(g.changed)
}

// Status returns what the gate knows now. The caller may keep it.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Status{
		Wanted:       len(g.wanted),
		Missing:      slices.Clone(g.missing),
		FullInARow:   g.state.FullInARow(),
		Open:         g.state.Open(),
		OpenSince:    g.state.OpenSince(),
		WaitingSince: g.state.WaitingSince(),
		Err:          g.err,
		Lookups:      g.lookups,
	}
}

// Changed returns a channel that has a value after Open, Missing or Err have changed. It
// is for one receiver.
func (g *Gate) Changed() <-chan struct{} { return g.changed }

// Name returns the name that the gate looks up.
func (g *Gate) Name() string { return g.name }

// Run looks the name up until ctx is done, while pods are wanted. The gate is closed when
// Run returns. Only one Run may be active at a time.
func (g *Gate) Run(ctx context.Context) {
	defer g.shut()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-timer.C:
			g.check(ctx)
		}
		if wait, ok := g.untilNext(); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// untilNext returns the time to the next lookup; ok is false with no pod wanted. It counts
// from the last answer even if the wanted set has changed since, so that frequent changes
// cause no more lookups.
func (g *Gate) untilNext() (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.wanted) == 0 {
		return 0, false
	}
	return time.Until(g.lastAnswer.Add(jitter(g.state.Pace(time.Now())))), true
}

// jitter returns d, up to a tenth shorter or longer. All pods learn of a new pod at the
// same moment, and their lookups should not stay in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

func (g *Gate) check(ctx context.Context) {
	g.mu.Lock()
	resting := len(g.wanted) == 0
	g.mu.Unlock()
	if resting {
		return
	}
	timed, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	addrs, err := g.resolver.Addrs(timed, g.name)
	if ctx.Err() == nil {
		g.record(addrs, err)
	}
}

// record compares an answer with the set that is wanted now, even if the set has changed
// since the lookup began: the answer is what DNS gives in any case.
func (g *Gate) record(addrs []netip.Addr, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastAnswer = time.Now()
	g.lookups++
	if len(g.wanted) == 0 {
		return
	}
	lacking := g.missing
	if err == nil {
		lacking = missing(g.wanted, addrs)
	}
	changed := g.state.Record(err == nil && len(lacking) == 0, g.lastAnswer)
	if changed || !slices.Equal(lacking, g.missing) || text(err) != text(g.err) {
		signal(g.changed)
	}
	g.missing, g.err = lacking, err
}

// shut closes the gate when Run ends: without lookups it must not stay open.
func (g *Gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Record(false, time.Now()) {
		signal(g.changed)
	}
}

// canonical brings pods into an order in which two sets of them can be compared.
func canonical(pods [][]netip.Addr) [][]netip.Addr {
	var sorted [][]netip.Addr
	for _, pod := range pods {
		if len(pod) > 0 {
			sorted = append(sorted, tidy(slices.Clone(pod)))
		}
	}
	compare := func(a, b []netip.Addr) int { return slices.CompareFunc(a, b, netip.Addr.Compare) }
	slices.SortFunc(sorted, compare)
	return slices.CompactFunc(sorted, slices.Equal)
}

// missing returns the first address of each wanted pod that has no address in answer.
func missing(wanted [][]netip.Addr, answer []netip.Addr) []netip.Addr {
	has := make(map[netip.Addr]bool, len(answer))
	for _, a := range answer {
		has[a.Unmap()] = true
	}
	var lacking []netip.Addr
	for _, pod := range wanted {
		if !slices.ContainsFunc(pod, func(a netip.Addr) bool { return has[a] }) {
			lacking = append(lacking, pod[0])
		}
	}
	return lacking
}

// text returns the text by which two errors are compared: the same failure has the same
// text each time, see [Error].
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// signal wakes the receiver of ch, unless a wake-up is pending already.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
