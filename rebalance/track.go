package rebalance

import (
	"context"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// runGrace is how long a Balancer may have connections without Run before it
// complains.
const runGrace = 10 * time.Second

// expectRun looks, once, a while after the first connection, whether Run was called.
func (b *Balancer) expectRun() {
	b.firstConn.Do(func() {
		time.AfterFunc(runGrace, func() {
			if b.ran.Load() {
				return
			}
			b.SetCondition("not-running", Error,
				"connections are served but Balancer.Run was not called: nothing will be moved; add `go bal.Run(ctx)`")
			if b.ran.Load() { // just now
				b.SetCondition("not-running", Error, "")
			}
		})
	})
}

// Seen notes that an RPC with this context was served and reports whether its
// connection is tracked. If it is not, the log, a condition and /readyz?verbose
// say so: most likely a grpc.Creds option that came after serveropts.Options
// replaced its credentials. The grpc.health.v1 handlers of package health call it. Where
// nobody calls those, as with HTTP probes, call it in a handler of yours.
func (b *Balancer) seen(ctx context.Context) bool {
	c, isRPC := conns.FromContext(ctx)
	if c != nil || !isRPC {
		return true
	}
	if b.untracked.Add(1) == 1 {
		b.SetCondition("untracked", Error,
			"RPCs arrive on connections that are not tracked, so none of them can be moved: a grpc.Creds option after "+
				"serveropts.Options replaced its credentials. Pass yours as serveropts.Options(bal, creds) "+
				"and drop grpc.Creds")
	}
	return false
}

// Draining returns a channel that is closed once the connection of this RPC has been
// asked to leave. The handler of a long stream may end it then, with
// codes.Unavailable, so that its client opens it elsewhere; nothing forces it
// to. It returns nil, which blocks for ever, if the connection is not tracked.
func Draining(ctx context.Context) <-chan struct{} {
	if c, _ := conns.FromContext(ctx); c != nil {
		return c.Draining()
	}
	return nil
}

// SetKey gives the connection of this RPC another key, such as a client's name that
// only its headers tell. It reports whether the connection is tracked.
func SetKey(ctx context.Context, key string) bool {
	c, _ := conns.FromContext(ctx)
	if c != nil {
		c.SetKey(key)
	}
	return c != nil
}

// Drain asks the connection of this RPC to leave (reason "manual"). It reports
// whether this call was the one that asked.
func Drain(ctx context.Context) bool {
	c, _ := conns.FromContext(ctx)
	return c != nil && c.Drain(reason.Manual, "asked by its handler", 0)
}

// DrainAll asks every connection to leave now (reason "manual") and returns how many
// were asked. It does not wait for them to go. Do not call it on several
// servers at the same moment: a client that is asked by all of them at once has
// nowhere to go.
func (b *Balancer) DrainAll(ctx context.Context) int {
	asked := 0
	for _, c := range b.reg.Serving() {
		if ctx.Err() != nil {
			break
		}
		if c.Drain(reason.Manual, "asked by the operator", b.Config().Rebalance.Grace) {
			asked++
		}
	}
	b.decided("manual", asked, "every connection was asked to leave")
	return asked
}
