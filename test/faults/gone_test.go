//go:build interop && linux

package faults

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/test/faults/link"
)

const (
	// idleChannels are clients that are connected and make no calls.
	idleChannels = 10
	// userTimeout is the TCP_USER_TIMEOUT that grpc-go gives to each connection of a server without
	// keepalive settings: the kernel ends it when sent data is not acknowledged for so long.
	userTimeout = 20 * time.Second
	// shortDeadline is the deadline of calls that are about to lose their network.
	shortDeadline = 3 * time.Second
	// clientPing and clientPingTimeout are the keepalive of the client that makes the calls, at grpc-go's
	// minimum. Without keepalive a client notices the loss only when the kernel does, after
	// a quarter of an hour.
	clientPing, clientPingTimeout = 10 * time.Second, 2 * time.Second
)

// A NAT forgets all connections while the pods drain. Nobody can save the calls on them. evenkeel
// must lose no more of them than a bare server, and must not keep the dead connections.
func TestForgottenFlows(t *testing.T) {
	needNetworks(t)
	t.Parallel()
	with := forgottenFlows(t, false)
	t.Logf("with: %+v", with)
	if !*long {
		return
	}
	bare := forgottenFlows(t, true)
	t.Logf("bare: %+v", bare)
	// Chance decides which calls are in flight.
	if most := bare.Failed*3/2 + 8; with.Failed > most {
		t.Errorf("%d calls failed, want at most %d, since a bare server lost %d", with.Failed, most, bare.Failed)
	}
}

// forgotten is what came of forgotten connections.
type forgotten struct {
	result
	// recovered is how long after the loss the last call began that failed, and gone when the pods had
	// closed the last dead connection.
	recovered, gone time.Duration
}

func forgottenFlows(t *testing.T, bare bool) (f forgotten) {
	w := newWorld(t, place{pods: 2, bare: bare, shape: link.Shape{Delay: 5 * ms}, policy: config.Policy{MinClientPing: 5 * time.Second}})
	busy := w.dial(t, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: clientPing, Timeout: clientPingTimeout}))
	w.connectIdle(t, idleChannels)
	tal, lost := newTally(), time.Now().Add(3*time.Second)
	end := lost.Add(userTimeout)
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { busy.work(tal, end, 0, shortDeadline) })
	if pause(ctx, time.Until(lost)) != nil {
		return f
	}
	w.link.Forget()
	if !bare {
		for _, p := range w.all {
			p.bal.DrainAll(ctx)
		}
		wg.Go(func() { w.drainAlternately(ctx) })
	}
	wg.Go(func() { f.gone = w.deadGone(t, lost) })
	wg.Wait()
	busy.cc.Close()
	f.result, f.recovered = tal.result, tal.lastFailure.Sub(lost)
	if most := clientPing + clientPingTimeout + shortDeadline; f.recovered > most {
		t.Errorf("calls that began %v after the loss still failed, want none after %v", f.recovered, most)
	}
	if !bare {
		w.checkClosed(t, 2*userTimeout)
		t.Logf("ended: %v", w.closed(t))
	}
	return f
}

// connectIdle connects clients to all pods. They make one call each and stay.
func (w *world) connectIdle(t *testing.T, n int) {
	t.Helper()
	for range n {
		ch := w.dial(t)
		for range 2 * len(w.all) {
			if err := ch.hi(t.Context(), "hello"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// deadGone waits until the pods have closed the dead connections: all but those of the busy client, which
// has a few more while it is drained.
func (w *world) deadGone(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	eventually(t, 3*userTimeout, "the pods keep dead connections", func() bool {
		ours, _ := w.sockets(t)
		return ours <= 3*len(w.all)
	})
	return time.Since(since)
}

// closed adds up how connections have ended.
func (w *world) closed(t *testing.T) map[string]int {
	t.Helper()
	sum := map[string]int{}
	for _, p := range w.all {
		for how, n := range p.status(t).Closed {
			sum[how] += n
		}
	}
	return sum
}

// Shutdown keeps its time although no client can be reached.
func TestShutdownOfForgottenFlows(t *testing.T) {
	needNetworks(t)
	t.Parallel()
	for _, tc := range []struct {
		name    string
		streams int
	}{{"idle", 0}, {"with streams", 3}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, place{pods: 1, shape: link.Shape{Delay: 5 * ms}})
			w.connectIdle(t, idleChannels)
			for range tc.streams {
				w.dial(t).openStream(t)
			}
			w.link.Forget()
			p, start := w.all[0], time.Now()
			err := p.bal.Shutdown(context.Background(), p.srv)
			took := time.Since(start)
			t.Logf("Shutdown took %v: %v", took, err)
			if *long && tc.streams == 0 {
				t.Logf("GracefulStop of a bare server took %v", bareStop(t))
			}
			if most := shutdownTimeout + time.Second; took > most {
				t.Errorf("Shutdown took %v, want at most %v", took, most)
			}
			if cutOff := err != nil && strings.Contains(err.Error(), "3 RPCs were cut off"); cutOff != (tc.streams > 0) || err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown returned %v, want an error for %d streams", err, tc.streams)
			}
			if s := p.status(t); s.Connections != 0 || closed(s) != s.Opened {
				t.Errorf("got status %+v, want all connections closed", s)
			}
		})
	}
}

// bareStop returns how long GracefulStop of a bare server takes, to compare with: grpc-go waits for a
// while until its clients acknowledge that they have read the GOAWAY.
func bareStop(t *testing.T) time.Duration {
	t.Helper()
	w := newWorld(t, place{pods: 1, bare: true, age: time.Hour, shape: link.Shape{Delay: 5 * ms}})
	w.connectIdle(t, idleChannels)
	w.link.Forget()
	start := time.Now()
	w.all[0].srv.GracefulStop()
	return time.Since(start)
}

// openStream opens a stream that stays open until the test ends.
func (c channel) openStream(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s, err := c.hello.Watch(ctx, &hellov1.HiRequest{ToWho: "you"})
	if err == nil {
		_, err = s.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The host of the clients vanishes. With keepalive the pods notice it, whether the connections
// are drained or not, and /statusz shows no connection that is gone. Without, a drained connection ends when
// the kernel gives up its GOAWAY.
func TestVanishedClients(t *testing.T) {
	needNetworks(t)
	t.Parallel()
	keepalive := config.Policy{KeepaliveTime: 2 * time.Second, KeepaliveTimeout: time.Second}
	for _, tc := range []struct {
		name    string
		policy  config.Policy
		drained bool
		most    time.Duration
	}{
		{"keepalive", keepalive, false, 20 * time.Second},
		{"keepalive, drained", keepalive, true, 20 * time.Second},
		{"drained", config.Policy{}, true, 3 * userTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, place{pods: 1, shape: link.Shape{Delay: 5 * ms}, policy: tc.policy})
			w.connectIdle(t, idleChannels)
			w.dial(t).openStream(t)
			p := w.all[0]
			if s := p.status(t); s.Connections != idleChannels+1 || s.Streams != 1 {
				t.Fatalf("got %+v, want %d connections and a stream", s, idleChannels+1)
			}
			w.link.Cut(true)
			start := time.Now()
			if tc.drained {
				p.bal.DrainAll(t.Context())
			}
			w.checkClosed(t, tc.most)
			t.Logf("the pod knows after %v; ended: %v", time.Since(start), w.closed(t))
			if s := p.status(t); s.Draining != 0 || s.Streams != 0 || s.Closed["forced"] != 0 {
				t.Errorf("got status %+v, want nothing draining, no streams and none forced", s)
			}
		})
	}
}
