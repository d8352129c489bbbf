package lookup

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// GateConfig tunes a [Gate]. Its zero value is good.
type GateConfig struct {
	// Interval is the time from an answer to the next lookup while the gate is
	// closed. Zero: 250 ms.
	Interval time.Duration
	// SlowInterval takes its place once the gate has been waiting for SlowAfter:
	// caches hold old answers for 30 s at most, so that the cause is another one by
	// then. Zero: 1 s and 30 s.
	SlowInterval, SlowAfter time.Duration
	// OpenInterval is the time between lookups while the gate is open. Zero: 2 s.
	OpenInterval time.Duration
	// Full is the number of full answers in a row that open the gate. A cluster has
	// several DNS servers that take turns and learn of a pod one after the other,
	// so that one full answer proves little. Zero: 3.
	Full int
	// Timeout bounds a lookup. Zero: [DefaultTimeout].
	Timeout time.Duration
	// Logger is told when the gate opens and closes. Nil: silent.
	Logger *slog.Logger
}

// withDefaults is the one place of the defaults.
func (c GateConfig) withDefaults() GateConfig {
	c.Interval = cmp.Or(max(c.Interval, 0), 250*time.Millisecond)
	c.SlowInterval = cmp.Or(max(c.SlowInterval, 0), time.Second)
	c.SlowAfter = cmp.Or(max(c.SlowAfter, 0), 30*time.Second)
	c.OpenInterval = cmp.Or(max(c.OpenInterval, 0), 2*time.Second)
	c.Full = cmp.Or(max(c.Full, 0), 3)
	c.Timeout = cmp.Or(max(c.Timeout, 0), DefaultTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Gate is open while the DNS answers clients with every wanted pod: while the
// last lookup, and at least GateConfig.Full of them in a row, were full. A failed
// lookup closes it like one that lacks a pod: who does not know does nothing.
//
// Its methods are safe for concurrent use.
type Gate struct {
	resolver Lookuper
	name     string
	cfg      GateConfig
	wake     chan struct{} // tells Run that the wanted set has changed
	changed  chan struct{}

	mu     sync.Mutex
	wanted [][]netip.Addr
	status Status
	last   time.Time // when the last lookup ended
}

// Status is what a [Gate] knows.
type Status struct {
	// Wanted is the number of pods that the answer must have.
	Wanted int
	// Missing has the first address of each pod that the last answer lacked;
	// all of them before the first answer.
	Missing []netip.Addr
	// FullInARow is the number of full answers since the last that was not.
	FullInARow int
	// Open tells whether connections may be moved. Never with nothing wanted.
	Open bool
	// OpenSince is when the gate opened; zero while it is closed.
	OpenSince time.Time
	// WaitingSince is when the waiting began; zero while open or nothing is wanted.
	WaitingSince time.Time
	// Err is why the last lookup failed, nil if it did not.
	Err error
	// Lookups is the number of lookups ever made.
	Lookups uint64
}

// NewGate returns a closed gate for name. Nothing is asked before [Gate.Run] and
// [Gate.Want] are called.
func NewGate(resolver Lookuper, name string, cfg GateConfig) *Gate {
	return &Gate{
		resolver: resolver,
		name:     name,
		cfg:      cfg.withDefaults(),
		wake:     make(chan struct{}, 1),
		changed:  make(chan struct{}, 1),
	}
}

// Want sets the pods that must be in an answer, each by its addresses, of which
// any one suffices: a name may have the A records alone of pods with both
// families. A pod without addresses is left out. The same set again, in any
// order, changes nothing; another starts anew with a closed gate; an empty one lets
// it rest: nothing is asked.
func (g *Gate) Want(pods [][]netip.Addr) {
	wanted := normal(pods)
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.EqualFunc(wanted, g.wanted, slices.Equal) {
		return
	}
	g.wanted = wanted
	g.status = Status{Wanted: len(wanted), Missing: missing(wanted, nil), Lookups: g.status.Lookups}
	if len(wanted) > 0 {
		g.status.WaitingSince = time.Now()
	}
	signal(g.wake)
	signal(g.changed)
}

// Status returns what is known now. The caller may keep it.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.status
	s.Missing = slices.Clone(s.Missing)
	return s
}

// Changed has a value after Open, Missing or Err have changed, for one receiver.
func (g *Gate) Changed() <-chan struct{} { return g.changed }

// Name returns the name that is looked up.
func (g *Gate) Name() string { return g.name }

// Run looks the name up, while pods are wanted, until ctx is done. The gate is
// closed when it returns. It must not run twice at a time.
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

// untilNext returns the time to the next lookup; ok is false with nothing wanted.
// It counts from the last answer, also if the wanted set has changed since: who
// changes it often does not make us ask more often.
func (g *Gate) untilNext() (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.wanted) == 0 {
		return 0, false
	}
	return time.Until(g.last.Add(jitter(g.paceLocked()))), true
}

func (g *Gate) paceLocked() time.Duration {
	switch {
	case g.status.Open:
		return g.cfg.OpenInterval
	case time.Since(g.status.WaitingSince) >= g.cfg.SlowAfter:
		return g.cfg.SlowInterval
	}
	return g.cfg.Interval
}

// jitter returns d, up to a tenth shorter or longer: all pods learn of a new one
// at the same moment, and should not ask the DNS in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

func (g *Gate) check(ctx context.Context) {
	g.mu.Lock()
	idle := len(g.wanted) == 0
	g.mu.Unlock()
	if idle {
		return
	}
	timed, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	addrs, err := g.resolver.Addrs(timed, g.name)
	if ctx.Err() == nil {
		g.record(addrs, err)
	}
}

// record takes note of an answer. It is held against what is wanted now, even if
// it was asked for before that changed: it is what the DNS says all the same.
func (g *Gate) record(addrs []netip.Addr, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = time.Now()
	g.status.Lookups++
	if len(g.wanted) == 0 {
		return
	}
	before := g.status
	g.status.Err = err
	if err == nil {
		g.status.Missing = missing(g.wanted, addrs)
	}
	if err == nil && len(g.status.Missing) == 0 {
		g.fullLocked()
	} else {
		g.notFullLocked()
	}
	if differ(before, g.status) {
		signal(g.changed)
	}
}

func (g *Gate) fullLocked() {
	g.status.FullInARow++
	if g.status.Open || g.status.FullInARow < g.cfg.Full {
		return
	}
	g.cfg.Logger.Info("DNS answers with all pods",
		"name", g.name, "pods", g.status.Wanted, "waited", time.Since(g.status.WaitingSince))
	g.status.Open = true
	g.status.OpenSince, g.status.WaitingSince = time.Now(), time.Time{}
}

func (g *Gate) notFullLocked() {
	g.status.FullInARow = 0
	if !g.status.Open {
		return
	}
	g.cfg.Logger.Warn("DNS no longer answers with all pods", "name", g.name,
		"pods", g.status.Wanted, "missing", len(g.status.Missing), "error", g.status.Err)
	g.status.Open = false
	g.status.OpenSince, g.status.WaitingSince = time.Time{}, time.Now()
}

// shut leaves a closed gate behind when nobody keeps looking.
func (g *Gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.status.Open {
		g.status.Open = false
		g.status.OpenSince, g.status.WaitingSince = time.Time{}, time.Now()
		signal(g.changed)
	}
	g.status.FullInARow = 0
}

// normal brings pods into an order in which two of them can be compared.
func normal(pods [][]netip.Addr) [][]netip.Addr {
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

// missing returns the first address of each wanted pod of which no address is in
// answer.
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

// differ tells whether a person would see another status.
func differ(a, b Status) bool {
	return a.Open != b.Open || !slices.Equal(a.Missing, b.Missing) || text(a.Err) != text(b.Err)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// signal wakes the receiver of ch, if it is not about to wake already.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
