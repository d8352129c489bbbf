package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/goleak"
)

const (
	// hung is how long an RPC without a deadline of its own may take. One that takes
	// longer is lost.
	hung = time.Minute
	// emptied is how long the servers may take to notice that all clients have gone.
	emptied = 20 * time.Second
	// These are the times between two drains of a pod, and between two resets of one of
	// the connections.
	leastDrain, mostDrain = 20 * time.Millisecond, 80 * time.Millisecond
	leastReset, mostReset = 20 * time.Millisecond, 80 * time.Millisecond
)

// run is one run of the test.
type run struct {
	options
	ledger *ledger
	tally  *tally
	lines  *lines
	fleet  *fleet
	chans  channels
	next   atomic.Uint64 // the next ID
	began  time.Time
}

// play plays the whole run. It ends early, and well, with ctx.
func play(ctx context.Context, o options, progress io.Writer) (*report, error) {
	others := goleak.IgnoreCurrent()
	r := &run{options: o, ledger: newLedger(o.calls), tally: newTally(), lines: &lines{}, began: time.Now()}
	all, err := securities()
	if err != nil {
		return nil, err
	}
	if r.fleet, err = startFleet(all, r.ledger); err != nil {
		return nil, err
	}
	if r.chans, err = openChannels(all, r.fleet, r.lines); err != nil {
		return nil, errors.Join(err, r.fleet.end())
	}
	r.storm(ctx, progress)
	rep := &report{took: time.Since(r.began), tally: r.tally}
	r.chans.close()
	rep.left = r.fleet.empty(emptied)
	rep.census = r.fleet.census()
	rep.dialed, rep.resets = r.lines.dialed.Load(), r.lines.resets.Load()
	rep.executed, rep.twice = r.ledger.counts()
	rep.ended = r.fleet.end()
	rep.leaked = goleak.Find(others)
	return rep, nil
}

// storm makes all RPCs while connections are drained and reset.
func (r *run) storm(ctx context.Context, progress io.Writer) {
	over := make(chan struct{})
	var chaos, workers sync.WaitGroup
	for i, p := range r.fleet.pods {
		chaos.Go(func() {
			r.again(over, uint64(i), leastDrain, mostDrain, func(*rand.Rand) { p.bal.DrainAll(context.Background()) })
		})
	}
	chaos.Go(func() { r.again(over, ^uint64(0), leastReset, mostReset, r.lines.resetOne) })
	chaos.Go(func() { r.progress(over, progress) })
	for k := range kinds {
		for w := range kinds[k].workers {
			workers.Go(func() { r.work(ctx, k, w) })
		}
	}
	workers.Wait()
	close(over)
	chaos.Wait()
}

// again does something again and again, at random times, until over is closed.
func (r *run) again(over <-chan struct{}, stream uint64, least, most time.Duration, do func(*rand.Rand)) {
	rng := rand.New(rand.NewPCG(r.seed, stream))
	for {
		select {
		case <-over:
			return
		case <-time.After(least + time.Duration(rng.Int64N(int64(most-least)))):
			do(rng)
		}
	}
}

// work makes RPCs of one kind, one at a time. What each is depends on the seed and its ID.
func (r *run) work(ctx context.Context, k, worker int) {
	chans := r.chans[kinds[k].reads]
	ch := chans[worker%len(chans)]
	for ctx.Err() == nil {
		id := r.next.Add(1) - 1
		if id >= r.calls {
			return
		}
		c := &rpc{id: id, hello: ch.hello, http: ch.http, rng: rand.New(rand.NewPCG(r.seed, id))}
		r.tally.finish(k, c, c.make(kinds[k].call), r.ledger)
	}
}

// make makes the RPC. The end of the run does not cancel it.
func (c *rpc) make(call func(*rpc) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), hung)
	defer cancel()
	c.ctx = ctx
	return call(c)
}

// progress prints a line now and then.
func (r *run) progress(over <-chan struct{}, w io.Writer) {
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for last := uint64(0); ; {
		select {
		case <-over:
			return
		case <-tick.C:
			n, c := r.tally.total(), r.fleet.census()
			fmt.Fprintf(w, "%6.0fs  %9d RPCs, %6.0f/s  %8d GOAWAYs  %7d resets  %3d connections, %3d draining  %d lost, %d wrong\n",
				time.Since(r.began).Seconds(), n, float64(n-last)/r.every.Seconds(), c.goaways, r.lines.resets.Load(),
				c.open, c.draining, r.tally.of(lost), r.tally.of(wrong))
			last = n
		}
	}
}
