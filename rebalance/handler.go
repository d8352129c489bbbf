package rebalance

import (
	"context"
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
