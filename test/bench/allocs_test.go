package bench

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

const (
	// measured is the number of operations over which allocations are counted.
	measured = 200
	// counts is how often they are counted.
	counts = 6
)

// Promise 6: no allocation per RPC, and none per message of a stream.
func TestNoExtraAllocationPerRPC(t *testing.T) {
	steady(t)
	for _, l := range loads() {
		for _, w := range wires() {
			t.Run(l.name+"/"+string(w), func(t *testing.T) {
				n := allocs(t, l, w, [2]serverKind{bare, evenkeel})
				off, on := n[0], n[1]
				t.Logf("bare %.3f, evenkeel %.3f allocations per operation", off, on)
				if !sameAllocs(off, on) {
					t.Errorf("got %.3f allocations per operation more than a bare server, want none", on-off)
				}
			})
		}
	}
}

// TestAllocationsOfAnInterceptorAreNoticed shows that the test above can fail. An interceptor
// that does nothing costs whole allocations per RPC.
func TestAllocationsOfAnInterceptorAreNoticed(t *testing.T) {
	steady(t)
	for _, name := range []string{"Unary", "BidiRPC"} {
		for _, w := range wires() {
			l := findLoad(name)
			n := allocs(t, l, w, [2]serverKind{bare, intercepted})
			off, on := n[0], n[1]
			t.Logf("%s over %s: bare %.3f, intercepted %.3f allocations per operation", name, w, off, on)
			if sameAllocs(off, on) {
				t.Errorf("%s over %s: got %.3f allocations without and %.3f with an interceptor, want a difference", name, w, off, on)
			}
		}
	}
}

// sameAllocs reports whether on is no more than off. The margin is for allocations that are not
// part of an RPC, and far below one per RPC.
func sameAllocs(off, on float64) bool { return on-off < 0.5 }

// steady makes allocations repeatable. A garbage collection would empty the pools, and a second
// processor has pools of its own.
func steady(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("under the race detector a sync.Pool drops items at random")
	}
	percent := debug.SetGCPercent(-1)
	procs := runtime.GOMAXPROCS(1)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(procs)
		debug.SetGCPercent(percent)
		runtime.GC()
	})
}

// allocs returns the allocations per operation of two kinds of server, client included. It counts
// them several times, alternating between the servers, and returns the least of each. A busy
// machine only ever adds allocations: another window update, another ping of the bandwidth
// estimator, another goroutine that is woken.
func allocs(t *testing.T, l load, w wire, kinds [2]serverKind) (least [2]float64) {
	t.Helper()
	var clients [2]hellov1.HelloServiceClient
	for i, kind := range kinds {
		clients[i] = dial(t, kind, w)
		must(t, l.run(t.Context(), clients[i], warmUp))
		least[i] = math.Inf(1)
	}
	for range counts {
		for i, c := range clients {
			least[i] = min(least[i], mallocs(t, l, c))
		}
	}
	return least
}

func mallocs(t *testing.T, l load, c hellov1.HelloServiceClient) float64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	must(t, l.run(t.Context(), c, measured))
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / measured
}
