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

// The numbers of pods that each fleet is scaled between.
const (
	small = 2
	large = 5
)

// resolverPause is the shortest time between two DNS resolutions of a grpc-go channel. A
// GOAWAY within this pause makes a client query DNS only at its end. Growth begins after
// the pause, so that the figures show the servers' part alone.
const resolverPause = 30 * time.Second

// timeline drives all fleets through the same phases at the same moments.
type timeline struct {
	o       *options
	board   *board
	columns []*column
	figures map[string][]figure
	guards  []io.Closer // hold the ports until stop
	scratch string      // a folder for the sidecar's program; empty: none
}

func (t *timeline) run(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	// Sampling goes on to the end, so that the last status of each pod is known.
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

// each calls do with all fleets concurrently.
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
	if err := t.buildSidecar(ctx); err != nil {
		return err
	}
	t.board.setPhase("starting")
	return t.each(func(c *column) error {
		if err := errors.Join(c.startDNS(), c.startVIP()); err != nil {
			return err
		}
		if err := c.grow(ctx, small); err != nil {
			return err
		}
		return c.startClients()
	})
}

func (t *timeline) connect(ctx context.Context) error {
	t.board.logf("each fleet has %d pods and %d clients with %d channels each", small, t.o.clients, t.o.channels)
	return t.until(ctx, startTimeout, "not every channel is connected", func() bool {
		return !slices.ContainsFunc(t.columns, func(c *column) bool { return !c.connected() })
	})
}

// checkEvery is how often until calls done.
const checkEvery = 100 * time.Millisecond

var errTimeout = errors.New("timed out")

// until waits until done returns true. After timeout it fails with complaint, which says
// what has not happened.
func (t *timeline) until(ctx context.Context, timeout time.Duration, complaint string, done func() bool) error {
	late := time.NewTimer(timeout)
	defer late.Stop()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return fmt.Errorf("%w after %v: %s", errTimeout, timeout, complaint)
		case <-tick.C:
		}
	}
	return nil
}

func (t *timeline) pause(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return t.until(ctx, d+time.Minute, "the clock does not advance", func() bool { return !time.Now().Before(end) })
}

// resolverMargin is the time after a pause within which clients send queries that the
// pause has delayed.
const resolverMargin = time.Second

// awaitResolvers waits until the clients may query DNS again and have no query left to
// send. An earlier change may have left a query that waits for the end of a pause; that
// query starts the next pause.
func (t *timeline) awaitResolvers(ctx context.Context) error {
	for range 3 {
		if err := t.awaitPause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitPause waits for the end of the pause after the latest query. It ignores the fleet
// with MaxConnectionAge, whose clients query DNS too often for such a moment to come.
func (t *timeline) awaitPause(ctx context.Context) error {
	var end time.Time
	for _, c := range t.columns {
		if at := c.lastQuery().Add(resolverPause + resolverMargin); c.id != withAge && at.After(end) {
			end = at
		}
	}
	wait := time.Until(end)
	if wait <= 0 {
		return nil
	}
	t.board.setPhase("waiting: grpc-go's DNS resolver pauses for 30 s after each query")
	t.board.logf("waiting %.0f s until the clients' resolvers may query DNS again", wait.Seconds())
	return t.pause(ctx, wait)
}

func (t *timeline) firstGrowth(ctx context.Context) error {
	return t.grow(ctx, fmt.Sprintf("%d to %d", small, large))
}

func (t *timeline) secondGrowth(ctx context.Context) error {
	return t.grow(ctx, fmt.Sprintf("%d to %d again", small, large))
}

// open starts a figure in each fleet. Views show activity, and the table shows phase.
func (t *timeline) open(ctx context.Context, phase, activity string) {
	t.board.setPhase(activity)
	_ = t.each(func(c *column) error {
		c.takeSample(ctx)
		now := time.Now()
		c.figure = figure{phase: phase, start: now, zero: now}
		return nil
	})
}

// shut ends the figures of the phase once the last reports have arrived, and keeps them.
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

// close fills in f from the samples and reports between its start and end.
func (f *figure) close(c *column, end time.Time) {
	before, after := c.sampleAt(f.start), c.sampleAt(time.Now())
	f.goaways, f.opened = after.goaways-before.goaways, after.opened-before.opened
	f.failedKind = c.tally.FailuresIn(f.start, end)
	f.failed = c.tally.Failed(f.start, end)
	f.verdicts = c.verdicts()
	if f.grew {
		f.early = c.sampleAt(f.zero).goaways - before.goaways
	}
	if f.evenOK {
		f.late = after.goaways - c.sampleAt(f.zero.Add(f.even+evenFor)).goaways
	}
}

// grow starts pods in all fleets and waits for the calls to become even.
func (t *timeline) grow(ctx context.Context, phase string) error {
	if err := t.awaitResolvers(ctx); err != nil {
		return err
	}
	t.open(ctx, phase, fmt.Sprintf("scaling from %d to %d pods", small, large))
	err := t.each(func(c *column) error {
		c.figure.grew = true
		if err := c.grow(ctx, large-small); err != nil {
			return err
		}
		if !t.o.dnsNever {
			c.figure.zero = c.dnsFullAt()
		}
		c.logf("%d new pods are ready%s", large-small, t.dnsText())
		return nil
	})
	if err != nil {
		return err
	}
	// The minute is a margin for the clients' reports, which take a moment to arrive.
	timeout := t.o.dnsLag + t.o.watch + t.o.rest + evenFor + time.Minute
	if err := t.until(ctx, timeout, phase+": the figures are not complete", t.settled); err != nil {
		return err
	}
	return t.shut(ctx)
}

func (t *timeline) dnsText() string {
	switch {
	case t.o.dnsNever:
		return "; DNS will never list them"
	case t.o.dnsLag > 0:
		return fmt.Sprintf("; DNS will list them in %v", t.o.dnsLag)
	}
	return " and listed in DNS"
}

// settled updates the figure of each fleet, and reports whether all are complete.
func (t *timeline) settled() bool {
	over := true
	for _, c := range t.columns {
		over = c.settled(time.Now()) && over
	}
	return over
}

// settled reports whether the fleet is even and, with evenkeel, has been watched for long
// enough after that. It also returns true if the fleet had -watch to become even.
func (c *column) settled(now time.Time) bool {
	f := &c.figure
	if !f.evenOK {
		if at, ok := c.tally.EvenSince(f.zero, now.Add(-reportDelay), c.pods(), c.o.limit(), evenFor); ok {
			f.even, f.evenOK = max(0, at.Sub(f.zero)), true
			c.logf("calls have stayed even for %.0f s, since %.1f s after DNS listed all pods", evenFor.Seconds(), f.even.Seconds())
		}
	}
	if !f.evenOK {
		return now.Sub(f.zero) > c.o.watch
	}
	return c.id != withEvenkeel || now.Sub(f.zero) > f.even+evenFor+c.o.rest
}

// shrink stops pods as a cluster does: it removes them from DNS and sends SIGTERM.
func (t *timeline) shrink(ctx context.Context) error {
	phase := fmt.Sprintf("%d to %d", large, small)
	t.open(ctx, phase, "scaling from "+phase+" pods")
	err := t.each(func(c *column) error {
		names := c.pods()[small:]
		stopping := c.drop(names...)
		c.logf("removed %s from DNS and sent SIGTERM", strings.Join(names, ", "))
		for _, s := range stopping {
			s.Terminate()
		}
		for _, s := range stopping {
			if err := t.until(ctx, 2*time.Minute, s.Spec.Name+" has not exited", s.Exited); err != nil {
				return err
			}
			c.figure.exits = append(c.figure.exits, s.ExitCode())
		}
		c.figure.stopTook = time.Since(c.figure.zero)
		c.logf("all of them have exited after %.1f s", c.figure.stopTook.Seconds())
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.pause(ctx, evenFor); err != nil {
		return err
	}
	return t.shut(ctx)
}

// dnsDropDelay is how long a cluster takes to notice that a pod is dead.
const dnsDropDelay = time.Second

// kill ends one pod with SIGKILL.
func (t *timeline) kill(ctx context.Context) error {
	t.open(ctx, "one pod killed", "killing one pod")
	err := t.each(func(c *column) error {
		c.figure.killed = true
		pods := c.pods()
		name := pods[len(pods)-1]
		c.mu.Lock()
		victim := c.servers[name]
		c.mu.Unlock()
		victim.Kill()
		c.logf("killed %s (SIGKILL)", name)
		if err := t.pause(ctx, dnsDropDelay); err != nil {
			return err
		}
		c.drop(name)
		return t.pause(ctx, 2*evenFor)
	})
	if err != nil {
		return err
	}
	return t.shut(ctx)
}
