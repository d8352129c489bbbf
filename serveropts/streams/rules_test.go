package streams

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// The first rule that matches counts, and streams that none matches go on.
func TestByMethod(t *testing.T) {
	opts := []Option{
		OnDrain(Methods("/test.Streams/Watch", "/test.Streams/Chat"), 10*time.Second),
		OnDrain(AllBut("/test.Streams/Other"), 20*time.Second),
		MaxAge(Methods("/test.Streams/*"), time.Hour),
	}
	inBubble(t, handlers{"Watch": until, "Chat": echo, "Talk": echo, "Other": until}, opts, func(r *rig) {
		var wg sync.WaitGroup
		begun := time.Now()
		after := map[string]time.Duration{"Watch": 10 * time.Second, "Chat": 10 * time.Second, "Talk": 20 * time.Second, "Other": time.Hour}
		for method, want := range after {
			st := r.open(method)
			wg.Go(func() {
				_, err := end(st)
				got, why := time.Since(begun), whyDrained
				if method == "Other" {
					got, why = got.Round(time.Hour), whyAged
				}
				r.polite(st, err, why)
				if got != want {
					t.Errorf("%s ended after %v, want %v", method, got, want)
				}
			})
		}
		r.drain()
		wg.Wait()
	})
}

// Streams end around their age, none beside another, and their connection stays.
func TestMaxAge(t *testing.T) {
	inBubble(t, handlers{"Watch": until, "Chat": echo}, []Option{MaxAge(nil, time.Hour)}, func(r *rig) {
		var mu sync.Mutex
		var ages []time.Duration
		var wg sync.WaitGroup
		begun := time.Now()
		for i := range 100 {
			st := r.open([]string{"Watch", "Chat"}[i%2])
			wg.Go(func() {
				_, err := end(st)
				mu.Lock()
				defer mu.Unlock()
				r.polite(st, err, whyAged)
				ages = append(ages, time.Since(begun))
			})
		}
		wg.Wait()
		slices.Sort(ages)
		if ages[0] < 54*time.Minute || ages[99] > 66*time.Minute || ages[99]-ages[0] < 9*time.Minute || ages[90]-ages[10] > 11*time.Minute {
			t.Errorf("streams ended after %v to %v, want 54m to 66m", ages[0], ages[99])
		}
		r.open("Watch")
		if s := r.bal.Status(); s.Tracked != 1 || s.Connections != 1 || s.Draining != 0 || s.GoAways["manual"] != 0 {
			t.Errorf("got %d connections, %d made, %d draining, GOAWAYs %v; want the one of before", s.Connections, s.Tracked, s.Draining, s.GoAways)
		}
	})
}

// A server stops although its streams have no end of their own.
func TestShutdownEndsStreams(t *testing.T) {
	inBubble(t, handlers{"Watch": until, "Chat": echo}, []Option{OnDrain(nil, 2*time.Second)}, func(r *rig) {
		begun := time.Now()
		var wg sync.WaitGroup
		for _, st := range []grpc.ClientStream{r.open("Watch"), r.open("Chat")} {
			wg.Go(func() {
				_, err := end(st)
				r.polite(st, err, whyDrained)
			})
		}
		err := r.bal.Shutdown(context.Background(), r.srv)
		if took := time.Since(begun); err != nil || took < 2*time.Second || took > 6*time.Second {
			r.t.Errorf("Shutdown took %v and returned %v, want 2 to 6 s and nil", took, err)
		}
		wg.Wait()
	})
}

// A stream that can be ended has no goroutine of its own, unless its client streams.
func TestGoroutines(t *testing.T) {
	opts := []Option{OnDrain(AllBut("/test.Streams/Other"), time.Hour), MaxAge(AllBut("/test.Streams/Other"), time.Hour), SelfEnding(Methods("/test.Streams/Talk"))}
	inBubble(t, handlers{"Watch": until, "Other": until, "Chat": echo, "Talk": echo}, opts, func(r *rig) {
		r.open("Other")
		time.Sleep(time.Minute) // what has begun with the connection ends
		of := func(method string) int {
			before := runtime.NumGoroutine()
			for range 20 {
				r.open(method)
			}
			return runtime.NumGoroutine() - before
		}
		other := of("Other")
		for method, more := range map[string]int{"Watch": 0, "Talk": 0, "Chat": 20} {
			if n := of(method); n != other+more {
				r.t.Errorf("20 streams of %s have %d goroutines, want the %d of unmatched ones and %d", method, n, other, more)
			}
		}
	})
}

// A client would give up a connection whose Watch ends while it is in service.
func TestHealthIsLeftAlone(t *testing.T) {
	inBubble(t, handlers{}, []Option{MaxAge(nil, time.Second)}, func(r *rig) {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
		defer cancel()
		st, err := healthpb.NewHealthClient(r.cc).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for err == nil {
			_, err = st.Recv()
		}
		took(t, begun, time.Hour)
	})
}
