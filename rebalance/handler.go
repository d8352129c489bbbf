package rebalance

import (
	"context"
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Draining returns a channel that is closed once the connection of this RPC is drained. The
// handler of a long stream may then end it with codes.Unavailable, so that its client opens
// it elsewhere; nothing forces it to. Draining returns nil, which blocks forever, if the
// connection is not tracked.
func Draining(ctx context.Context) <-chan struct{} {
	if c, _ := conns.FromContext(ctx); c != nil {
		return c.Draining()
	}
	return nil
}

// AfterDraining calls f, in a goroutine of its own, once the connection of this RPC is
// drained; at once if it is draining already. Until then it costs no goroutine, unlike waiting
// for [Draining]. stop undoes the call and reports whether it has prevented f, as the stop of
// [context.AfterFunc] does: call it at the end of the handler. tracked is false if the connection
// is not tracked. f is then never called.
//
// f is also called if the connection ends without a drain. The context of the RPC has ended
// then, too.
func AfterDraining(ctx context.Context, f func()) (stop func() bool, tracked bool) {
	if c, _ := conns.FromContext(ctx); c != nil {
		return c.AfterDraining(f), true
	}
	return func() bool { return true }, false
}

// SetKey gives the connection of this RPC another key, such as a client's name that only a
// header carries. Connections with the same key count as those of one client. SetKey reports
// whether the connection is tracked.
func SetKey(ctx context.Context, key string) bool {
	c, _ := conns.FromContext(ctx)
	if c != nil {
		c.SetKey(key)
	}
	return c != nil
}

// Drain drains the connection of this RPC (reason "manual"): its client gets a GOAWAY,
// RPCs in flight finish, new ones go elsewhere. Drain reports whether this call did it;
// false if the connection is draining already or is not tracked.
func Drain(ctx context.Context) bool {
	c, _ := conns.FromContext(ctx)
	return c != nil && c.Drain(reason.Manual, "drained by its handler", 0)
}

// runGrace is how long a Balancer may have connections before the lack of Run is reported.
const runGrace = 10 * time.Second

// runReturns is the end of Run.
func (b *Balancer) runReturns() {
	if b.ready() {
		b.standDown("Run has ended: no connection is moved any more")
	}
	b.conds.set(sourceEnded, "")
	b.conds.set(peersLimited, "")
	b.running.Store(false)
	b.watchRun()
	time.AfterFunc(runGrace, b.watchRun) // so that it is logged even if nobody reads Status
}

// watchRun shows that Run has ended although connections are served.
func (b *Balancer) watchRun() {
	n := b.reg.Brief().Connections
	over := b.ran.Load() && !b.running.Load() && b.ready() && n > 0
	b.conds.set(runEnded, onlyIf(over, fmt.Sprintf("Balancer.Run has ended although this pod serves %s, so none is moved any more: "+
		"cancel Run's context only after Shutdown has returned, or call Run again", counted(n, "connection"))))
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func areCounted(n int, thing string) string {
	if n == 1 {
		return counted(n, thing) + " is"
	}
	return counted(n, thing) + " are"
}

// expectRun checks once, a while after the first connection, whether Run was called.
func (b *Balancer) expectRun() {
	b.firstConn.Do(func() {
		time.AfterFunc(runGrace, func() {
			if b.ran.Load() {
				return
			}
			b.conds.set(notRunning, "connections are served but Balancer.Run was not called, so none is moved: add `go bal.Run(ctx)`")
			if b.ran.Load() { // Run was called at this very moment
				b.conds.set(notRunning, "")
			}
		})
	})
}
