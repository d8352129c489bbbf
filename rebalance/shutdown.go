package rebalance

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Server is what Shutdown needs of a *grpc.Server or a *serveropts.WebServer.
type Server interface {
	GracefulStop()
	Stop()
}

// stop is the state of a Balancer's one shutdown.
type stop struct {
	once    sync.Once
	begun   chan struct{} // closed when Shutdown begins
	closing chan struct{} // closed when the servers begin to stop
	ended   chan struct{} // closed when the first call has returned err
	err     error
	blind   sync.Once // the lack of Run is logged once
	drained int       // connections that the first call has drained

	mu      sync.Mutex // guards what follows
	servers []Server   // those of all calls
	until   time.Time  // when all must have stopped
}

func newStop() stop {
	return stop{begun: make(chan struct{}), closing: make(chan struct{}), ended: make(chan struct{})}
}

// begin reports whether this is the first call.
func (s *stop) begin(timeout time.Duration) (first bool) {
	s.once.Do(func() {
		s.mu.Lock()
		s.until = time.Now().Add(timeout)
		s.mu.Unlock()
		close(s.begun)
		first = true
	})
	return first
}

// add returns those of srv that no call has passed before, and the time by which they must
// have stopped.
func (s *stop) add(srv []Server) (more servers, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range srv {
		if !slices.ContainsFunc(s.servers, func(known Server) bool { return same(known, one) }) {
			s.servers = append(s.servers, one)
			more = append(more, one)
		}
	}
	return more, s.until
}

// same reports whether two values are the same server. A value that cannot be compared, such
// as a struct with a function in it, has no identity.
func same(x, y Server) bool {
	return reflect.ValueOf(x).Comparable() && reflect.ValueOf(y).Comparable() && x == y
}

// ready reports whether the pod serves, which it does until Shutdown begins.
func (b *Balancer) ready() bool {
	select {
	case <-b.stop.begun:
		return false
	default:
		return true
	}
}

// Stopping returns a channel that is closed when Shutdown begins. Handlers of long streams
// may end them then.
func (b *Balancer) Stopping() <-chan struct{} { return b.stop.begun }

// Shutdown stops the servers of this Balancer without failing an RPC. It returns when all
// have stopped, at the latest half a second after shutdown.timeout (default 20 s). Call it
// with a context of its own, such as context.Background(): a context that ends during the
// call cuts off the RPCs in flight. One that is done before the call, such as the one that
// SIGTERM has just canceled, is replaced and a warning logged.
//
// Shutdown takes these steps:
//
//  1. Lame duck. The pod is no longer ready but still serves, for shutdown.minimum and then
//     until the source of peers and DNS no longer list it. The second wait takes at most a
//     third of the time, and none without a source. Here and below, the time is
//     shutdown.timeout less shutdown.minimum.
//  2. Every connection is drained, each at a random moment within at most a third of the
//     time. Pods that stop together must not drain one client at the same moment.
//  3. If clients resolve a DNS name, clients that come back are still served. A resolver
//     rests for up to 30 s after a lookup, and its client knows no other pod until then.
//     This ends with the last such client, or when a tenth of the time is left. HTTP/1.1
//     clients have up to 2 s for a request whose answer closes their connection.
//  4. GracefulStop of each server, for connections that came back or stayed. A connection
//     whose client has not begun to speak HTTP/2 within a second is closed, since
//     grpc-go would wait for it.
//  5. Stop of each server, when the time is over or ctx is done. Only this can fail RPCs.
//     Their handlers then have half a second to return.
//
// Shutdown returns nil if the servers stopped by themselves. Otherwise its error wraps
// context.DeadlineExceeded or ctx's error, and says how many RPCs were cut off, which is
// logged as an error, too. A server may then still wait for a handler that does not return.
//
// A second call waits for the first and returns its result, or ctx's error if ctx ends
// earlier. Servers that the first call did not have begin to stop with those of the first
// and have as long, counted from the first call.
//
// A gRPC server that serves through ServeHTTP is not passed, since grpc-go would cut off its
// RPCs at once. Pass the serveropts.WebServer around it. Stop an http.Server of your own
// yourself.
//
// Do not cancel the contexts of Run and of the health endpoint before Shutdown has
// returned, since peers and the kubelet follow it there. Without Run, the lame duck waits for
// DNS alone, and an error is logged.
func (b *Balancer) Shutdown(ctx context.Context, srv ...Server) error {
	ctx = b.usable(ctx)
	if !b.stop.begin(b.inForce().Shutdown.Timeout) {
		return b.shutdownMore(ctx, srv)
	}
	defer close(b.stop.ended)
	b.stop.err = b.shutdown(ctx, srv)
	return b.stop.err
}

// usable replaces a context that is already done. With it Shutdown would only cut off RPCs,
// which nobody wants who calls it.
func (b *Balancer) usable(ctx context.Context) context.Context {
	if ctx.Err() == nil {
		return ctx
	}
	b.opts.log.Warn("Shutdown was called with a context that is already done, and stops gracefully all the same: "+
		"pass context.Background(), since shutdown.timeout limits the time", "cause", context.Cause(ctx))
	return context.WithoutCancel(ctx)
}

func (b *Balancer) shutdown(ctx context.Context, srv []Server) error {
	all, until := b.stop.add(srv)
	cfg := b.inForce().Shutdown
	b.decided("shutdown", b.reg.Totals().Connections, "this pod stops within "+cfg.Timeout.String())
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	rest := cfg.Timeout - cfg.Minimum
	b.serveOn(ctx, cfg.Minimum)
	b.waitForgotten(ctx, rest/3)
	b.drainSpread(ctx, rest/3)
	b.serveReturned(ctx, rest/10)
	b.awaitAnswers(ctx, min(answerWait, rest/10))
	close(b.stop.closing)
	return b.stopServers(ctx, all)
}

// shutdownMore is a call after the first. It stops the servers that are new.
func (b *Balancer) shutdownMore(ctx context.Context, srv []Server) error {
	var err error
	if more, until := b.stop.add(srv); len(more) > 0 {
		err = b.stopWithTheFirst(ctx, more, until)
	}
	select {
	case <-b.stop.ended:
	case <-ctx.Done():
		select {
		case <-b.stop.ended: // at the same time
		default:
			return ctx.Err()
		}
	}
	return cmp.Or(b.stop.err, err)
}

func (b *Balancer) stopWithTheFirst(ctx context.Context, srv servers, until time.Time) error {
	b.decided("shutdown", len(srv), "more servers stop with the first, by a second call of Shutdown")
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	select {
	case <-b.stop.closing:
	case <-ctx.Done():
	}
	return b.stopServers(ctx, srv)
}

// servers stops several servers as if they were one.
type servers []Server

func (s servers) GracefulStop() { s.each(Server.GracefulStop) }
func (s servers) Stop()         { s.each(Server.Stop) }

func (s servers) each(f func(Server)) {
	var wg sync.WaitGroup
	for _, one := range s {
		wg.Go(func() { f(one) })
	}
	wg.Wait()
}

// handlersEnd is how long handlers have to return when their RPCs were cut off.
const handlersEnd = 500 * time.Millisecond

// stopServers lets RPCs in flight finish. grpc-go waits for handshakes before it drains or
// cuts off anything, and for handlers even in Stop. stopServers bounds both waits.
func (b *Balancer) stopServers(ctx context.Context, srv servers) error {
	patience := min(speakWait, b.inForce().Shutdown.Timeout/6)
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.GracefulStop()
	}()
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	var cutOff error
	var late <-chan time.Time
	for over := ctx.Done(); ; {
		select {
		case <-done:
			return cutOff
		case <-late:
			return cutOff
		case <-tick.C:
			if n := b.reg.CloseSilent(patience); n > 0 {
				b.decided("shutdown", n, "connections on which no client spoke HTTP/2 were closed")
			}
		case <-over:
			over, late, cutOff, patience = nil, time.After(handlersEnd), b.cutsOff(ctx.Err()), 0
			go srv.Stop()
		}
	}
}

// cutsOff says how many RPCs Stop ends, at a level of its own: these are the only ones that fail
// because a pod stops. Nobody scrapes the pod after them.
func (b *Balancer) cutsOff(cause error) error {
	n := b.reg.Totals().Streams
	if n == 0 {
		return cause
	}
	text := fmt.Sprintf("%d RPCs were cut off", n)
	if n == 1 {
		text = "1 RPC was cut off"
	}
	b.decided("shutdown", n, text+": shutdown.timeout is over, or Shutdown's context has ended")
	b.opts.log.Error("RPCs were cut off: raise shutdown.timeout above the longest RPC, or end long streams when Balancer.Stopping is closed",
		"rpcs", n, "timeout", b.inForce().Shutdown.Timeout, "cause", cause)
	return fmt.Errorf("%s: %w", text, cause)
}

// stopPoll is how often Shutdown checks whether it may go on.
const stopPoll = 100 * time.Millisecond

// stoppingText is what clients get in the GOAWAY of a pod that stops.
const stoppingText = "this pod is stopping"

// drainSpread drains every connection, each at a random moment. It returns when all have
// been sent their GOAWAY, but for those of the last second without a stream, which get it soon.
func (b *Balancer) drainSpread(ctx context.Context, most time.Duration) {
	all := b.reg.Serving()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	cfg := b.inForce()
	byRate := time.Duration(float64(len(all)) / cfg.Rebalance.MaxPerSecond * float64(time.Second))
	window := min(most, max(cfg.Rebalance.Spread, byRate))
	start := time.Now()
	for i, at := range momentsIn(window, len(all)) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(start.Add(at))):
		}
		if all[i].Drain(reason.Shutdown, stoppingText, 0) {
			b.stop.drained++
		}
	}
}

// returnWait is how long after its GOAWAY a client that knows no other pod may take to
// come back. It dials at once.
const returnWait = time.Second

// speakWait is how long a connection may be silent and still be that of a client which has just
// come: a handshake takes several round trips, and a lost packet costs a second. Those of port scanners
// and probes are silent for longer and hold up nothing.
const speakWait = 3 * time.Second

// serveReturned waits until the clients that came back after their GOAWAY have learned of
// other pods. It leaves the last part of the time to the steps that follow.
func (b *Balancer) serveReturned(ctx context.Context, leave time.Duration) {
	if b.clientDNS.gate.Load() == nil {
		return
	}
	end, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, end.Add(-leave))
	defer cancel()
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	for begun := time.Now(); ; {
		t := b.reg.Brief()
		serving := t.Connections - t.Draining + b.reg.Arriving(speakWait)
		if serving == 0 && (b.stop.drained == 0 || time.Since(begun) > returnWait) {
			return
		}
		select {
		case <-ctx.Done():
			b.decided("shutdown", serving, "clients that came back know of no other pod yet, and the time is over")
			return
		case <-tick.C:
		}
	}
}

// answerWait is how long HTTP/1.1 clients that call now and then have for the request whose
// answer closes their connection. net/http then closes all that are idle, which can cross the
// next request of a client.
const answerWait = 2 * time.Second

// awaitAnswers waits until such clients have learned that their connections are drained.
func (b *Balancer) awaitAnswers(ctx context.Context, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	for b.reg.Unannounced() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// momentsIn returns n random moments in [0, window), sorted.
func momentsIn(window time.Duration, n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(rand.Float64() * float64(window))
	}
	slices.Sort(out)
	return out
}
