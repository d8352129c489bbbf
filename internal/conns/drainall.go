package conns

import (
	"context"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

const (
	// drainsAtOnce is how many GOAWAYs are written at the same time, beside those to clients
	// that do not read. Each takes a goroutine, for up to 1 s: 100,000 at once would take
	// half a gigabyte.
	drainsAtOnce = 256
	// drainPatience is how long the others wait for clients that do not read.
	drainPatience = 200 * time.Millisecond
)

// DrainAll drains every connection, and returns how many it drained. It returns once all
// GOAWAYs are on the wire or under way.
func (r *Registry) DrainAll(ctx context.Context, why reason.Reason, text string, grace time.Duration) int {
	drained := 0
	slots := make(chan struct{}, drainsAtOnce)
	for _, c := range r.Serving() {
		if ctx.Err() != nil {
			break
		}
		if c.spared() > 0 {
			_ = c.Drain(why, text, grace) // later, without a goroutine meanwhile
			drained++
		} else if flush := c.startDrain(why, text, grace); flush != nil {
			drained++
			slots <- struct{}{}
			go flushIn(slots, flush)
		}
	}
	return drained
}

// flushIn calls flush and then frees a slot. The slots of clients that do not read are freed
// meanwhile, so that they hold up nobody else for long.
func flushIn(slots <-chan struct{}, flush func()) {
	free := sync.OnceFunc(func() { <-slots })
	defer time.AfterFunc(drainPatience, free).Stop()
	flush()
	free()
}
