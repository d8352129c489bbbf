package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// The sizes of each fleet.
const (
	small = 2
	large = 5
)

// resolverPause is how long grpc-go waits from one resolution to the next, at
// least: a GOAWAY within it makes a client ask DNS only when it is over. Growth
// begins when it is over, so that what is measured is the servers' doing.
const resolverPause = 30 * time.Second

// timeline is what happens to all fleets at the same moments.
type timeline struct {
	o       *options
	board   *board
	columns []*column
	figures map[string][]figure
	held    []io.Closer // until stop
}

func (t *timeline) run(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	// Until the end of all, so that what pods say last is kept.
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, c := range t.columns {
		wg.Go(func() { c.watchPods(watching) })
	}
	phases := []func(context.Context) error{t.connect, t.firstGrowth}
	if t.o.full {
		phases = append(phases, t.shrink, t.secondGrowth, t.kill)
	}
	for _, phase := range phases {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	return nil
}

// each does the same to all fleets at once.
func (t *timeline) each(do func(*column) error) error {
	errs := make([]error, len(t.columns))
	var wg sync.WaitGroup
	for i, c := range t.columns {
		wg.Go(func() { errs[i] = do(c) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// begin starts the pods, then the clients.
func (t *timeline) begin(ctx context.Context) error {
	t.board.enter("starting")
	return t.each(func(c *column) error {
		if err := c.startDNS(); err != nil {
			return err
		}
		if err := c.grow(ctx, small); err != nil {
			return err
		}
		return c.startClients()
	})
}

func (t *timeline) connect(ctx context.Context) error {
	t.board.sayf("%d pods in each fleet, %d clients with %d channels each", small, t.o.clients, t.o.channels)
	return t.until(ctx, startTimeout, "not every channel is connected", func() bool {
		return !slices.ContainsFunc(t.columns, func(c *column) bool { return !c.connected() })
	})
}

// lookEvery is how often it is looked whether a phase is over.
const lookEvery = 100 * time.Millisecond

var errLate = errors.New("took too long")

// until waits for done, at most as long as given; complaint says what is wrong then.
func (t *timeline) until(ctx context.Context, most time.Duration, complaint string, done func() bool) error {
	late := time.NewTimer(most)
	defer late.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return fmt.Errorf("%w (%v): %s", errLate, most, complaint)
		case <-tick.C:
		}
	}
	return nil
}

func (t *timeline) pause(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return t.until(ctx, d+time.Minute, "", func() bool { return !time.Now().Before(end) })
}

// resolverMargin is the time after the pause in which a question that has waited for
// its end is asked.
const resolverMargin = time.Second

// awaitResolvers waits until the clients may ask DNS again and have nothing more to ask:
// a change before this one may have left a question that waits for the pause to
// end, after which the next pause begins.
func (t *timeline) awaitResolvers(ctx context.Context) error {
	for range 3 {
		if err := t.awaitPause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitPause waits for the end of the pause after the last question. A fleet whose
// connections come and go all the time has no such moment and is not waited for.
func (t *timeline) awaitPause(ctx context.Context) error {
	var may time.Time
	for _, c := range t.columns {
		if at := c.lastQuery().Add(resolverPause + resolverMargin); c.id != withAge && at.After(may) {
			may = at
		}
	}
	wait := time.Until(may)
	if wait <= 0 {
		return nil
	}
	t.board.enter("waiting: grpc-go's resolvers rest for 30 s after each answer")
	t.board.sayf("warming up for %.0f s, until the clients' resolvers may ask again", wait.Seconds())
	return t.pause(ctx, wait)
}

func (t *timeline) firstGrowth(ctx context.Context) error {
	return t.grow(ctx, fmt.Sprintf("%d to %d", small, large))
}

func (t *timeline) secondGrowth(ctx context.Context) error {
	return t.grow(ctx, fmt.Sprintf("%d to %d again", small, large))
}

// open begins a figure in each fleet.
func (t *timeline) open(ctx context.Context, phase string) {
	t.board.enter(phase)
	_ = t.each(func(c *column) error {
		c.takeSample(ctx)
		now := time.Now()
		c.figure = figure{phase: phase, start: now, zero: now}
		return nil
	})
}

// shut ends the figures of the phase, once the last reports are in, and keeps them.
func (t *timeline) shut(ctx context.Context) error {
	end := time.Now()
	if err := t.pause(ctx, reportDelay); err != nil {
		return err
	}
	for _, c := range t.columns {
		c.takeSample(ctx)
		c.figure.close(c, end)
		t.figures[c.id] = append(t.figures[c.id], c.figure)
	}
	return nil
}

// close adds what the samples and reports from start to end say.
func (f *figure) close(c *column, end time.Time) {
	before, after := c.at(f.start), c.at(time.Now())
	f.goaways, f.opened = after.goaways-before.goaways, after.opened-before.opened
	f.failedKind = c.tally.FailuresIn(f.start, end)
	f.failed = c.tally.Failed(f.start, end)
	f.verdicts = c.verdicts()
	if f.grew {
		f.early = c.at(f.zero).goaways - before.goaways
	}
	if f.evenOK {
		f.late = after.goaways - c.at(f.zero.Add(f.even+stays)).goaways
	}
}

// grow starts pods in all fleets and watches how the calls follow.
func (t *timeline) grow(ctx context.Context, phase string) error {
	if err := t.awaitResolvers(ctx); err != nil {
		return err
	}
	t.open(ctx, phase)
	err := t.each(func(c *column) error {
		c.figure.grew = true
		if err := c.grow(ctx, large-small); err != nil {
			return err
		}
		if !t.o.dnsNever {
			c.figure.zero = c.fullAt()
		}
		c.sayf("%d new pods are ready%s", large-small, t.dnsText())
		return nil
	})
	if err != nil {
		return err
	}
	// The clients' reports take a moment, hence a second more than what is watched.
	most := t.o.dnsLag + t.o.watch + t.o.rest + stays + time.Minute
	if err := t.until(ctx, most, phase, t.settled); err != nil {
		return err
	}
	return t.shut(ctx)
}

func (t *timeline) dnsText() string {
	switch {
	case t.o.dnsNever:
		return ", DNS will never answer with them"
	case t.o.dnsLag > 0:
		return fmt.Sprintf(", DNS will answer with them in %v", t.o.dnsLag)
	}
	return " and in DNS"
}

// settled looks at each fleet and is true once nothing more is to be seen.
func (t *timeline) settled() bool {
	over := true
	for _, c := range t.columns {
		over = c.settled(time.Now()) && over
	}
	return over
}

// settled: even and, with evenkeel, at rest for long enough; or there was time enough.
func (c *column) settled(now time.Time) bool {
	f := &c.figure
	if !f.evenOK {
		if at, ok := c.tally.EvenSince(f.zero, now.Add(-reportDelay), c.pods(), evenLimit, stays); ok {
			f.even, f.evenOK = max(0, at.Sub(f.zero)), true
			c.sayf("even, %.1f s after DNS answered in full", f.even.Seconds())
		}
	}
	if !f.evenOK {
		return now.Sub(f.zero) > c.o.watch
	}
	return c.id != withEvenkeel || now.Sub(f.zero) > f.even+stays+c.o.rest
}

// shrink stops pods as a cluster does: out of DNS, and SIGTERM.
func (t *timeline) shrink(ctx context.Context) error {
	t.open(ctx, fmt.Sprintf("%d to %d", large, small))
	err := t.each(func(c *column) error {
		names := c.pods()[small:]
		leaving := c.drop(names...)
		c.sayf("%s leave: out of DNS, SIGTERM", strings.Join(names, ", "))
		for _, s := range leaving {
			s.Terminate()
		}
		for _, s := range leaving {
			if err := t.until(ctx, 2*time.Minute, s.Spec.Name+" does not end", s.Exited); err != nil {
				return err
			}
			c.figure.exits = append(c.figure.exits, s.ExitCode())
		}
		c.figure.left = time.Since(c.figure.zero)
		c.sayf("they are gone after %.1f s", c.figure.left.Seconds())
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.pause(ctx, stays); err != nil {
		return err
	}
	return t.shut(ctx)
}

// dnsDropDelay is how long it takes until a cluster has noticed that a pod is dead.
const dnsDropDelay = time.Second

// kill ends one pod with SIGKILL.
func (t *timeline) kill(ctx context.Context) error {
	t.open(ctx, "one killed")
	err := t.each(func(c *column) error {
		c.figure.killed = true
		pods := c.pods()
		name := pods[len(pods)-1]
		c.mu.Lock()
		victim := c.servers[name]
		c.mu.Unlock()
		victim.Kill()
		c.sayf("%s is killed", name)
		if err := t.pause(ctx, dnsDropDelay); err != nil {
			return err
		}
		c.drop(name)
		return t.pause(ctx, 2*stays)
	})
	if err != nil {
		return err
	}
	return t.shut(ctx)
}
