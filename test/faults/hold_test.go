//go:build interop && linux

package faults

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/faults/link"
)

// Clients of nghttp2 refuse calls by themselves if they read a GOAWAY behind the end of another call.
// Loss is what brings both into one read: all that was sent after the lost packet comes at
// once. evenkeel waits for the client before it sends the GOAWAY (docs/design/wire.md).
//
// connect-node is the client, since it retries nothing. It has one server only: with several it may
// also begin a call on one connection while it handles an answer from another.
func TestHold(t *testing.T) {
	needNetworks(t)
	t.Parallel()
	if !*long {
		t.Skip("-long is not set")
	}
	for _, tc := range []struct {
		name  string
		shape link.Shape
	}{
		{"100 ± 30 ms", link.Shape{Delay: 100 * ms, Jitter: 30 * ms}},
		{"3 % loss, 5 ms", link.Shape{Delay: 5 * ms, Loss: 0.03}},
		{"3 % loss, 100 ± 30 ms", link.Shape{Delay: 100 * ms, Jitter: 30 * ms, Loss: 0.03}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			with, drained := refused(t, place{pods: 1, shape: tc.shape, age: time.Second})
			bare, _ := refused(t, place{pods: 1, shape: tc.shape, age: time.Second, bare: true})
			t.Logf("%d of %d calls failed, with %d GOAWAYs; %d of %d with a bare server", with.Failed, with.Calls, drained, bare.Failed, bare.Calls)
			// A client that does not run for a second gets the GOAWAY behind what it has not read.
			if most := drained / 10; with.Failed > most {
				t.Errorf("%d calls failed, want at most %d: %v", with.Failed, most, with.Errors)
			}
		})
	}
}

// refused returns what connect-node has counted, and how many GOAWAYs it got.
func refused(t *testing.T, p place) (r result, drained int) {
	t.Helper()
	const seconds = 30
	w := newWorld(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
	defer cancel()
	c := w.startProgram(t, programs()[2], seconds, 8)
	if c == nil {
		t.Skip("connect-node is not built")
	}
	var wg sync.WaitGroup
	if !p.bare {
		wg.Go(func() { w.drainAlternately(ctx) })
	}
	r = c.result(t)
	cancel()
	wg.Wait()
	c.end()
	return r, w.sum(t, goAways)
}
