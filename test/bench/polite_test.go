package bench

import (
	"fmt"
	"testing"
)

// Package serveropts/streams costs unary RPCs nothing, and streams that it does not match nothing
// beyond what grpc-go allocates for any server with a stream interceptor.
func TestNoExtraAllocationWithPoliteStreams(t *testing.T) {
	steady(t)
	for _, l := range loads() {
		for _, w := range wires() {
			t.Run(l.name+"/"+string(w), func(t *testing.T) {
				n := allocs(t, l, w, [2]serverKind{streamIntercepted, politeOthers})
				t.Logf("stream-intercepted %.3f, polite-others %.3f allocations per operation", n[0], n[1])
				if !sameAllocs(n[0], n[1]) {
					t.Errorf("got %.3f allocations per operation more, want none", n[1]-n[0])
				}
			})
		}
	}
	for _, name := range []string{"Unary", "UnaryParallel"} {
		n := allocs(t, findLoad(name), tcp, [2]serverKind{bare, politeAll})
		t.Logf("%s: bare %.3f, polite-all %.3f allocations per operation", name, n[0], n[1])
		if !sameAllocs(n[0], n[1]) {
			t.Errorf("%s: got %.3f allocations per operation more, want none", name, n[1]-n[0])
		}
	}
}

// Streams that can be ended cost no allocation for each message either.
func TestNoExtraAllocationPerPoliteMessage(t *testing.T) {
	steady(t)
	for _, name := range []string{"ServerStreamMessage", "BidiMessage"} {
		for _, kind := range []serverKind{politeAll, politeSelf} {
			n := allocs(t, findLoad(name), tcp, [2]serverKind{bare, kind})
			t.Logf("%s: bare %.3f, %s %.3f allocations per message", name, n[0], kind, n[1])
			if !sameAllocs(n[0], n[1]) {
				t.Errorf("%s: got %.3f allocations per message more with %s, want none", name, n[1]-n[0], kind)
			}
		}
	}
}

// BenchmarkPolite compares servers with and without package serveropts/streams.
func BenchmarkPolite(b *testing.B) {
	for _, name := range []string{"Unary", "ServerStreamMessage", "BidiMessage", "BidiRPC"} {
		l := findLoad(name)
		for _, kind := range []serverKind{evenkeel, streamIntercepted, politeOthers, politeAll, politeSelf} {
			b.Run(fmt.Sprintf("load=%s/server=%s", name, kind), func(b *testing.B) {
				c := dial(b, kind, tcp)
				must(b, l.run(b.Context(), c, warmUp))
				b.ReportAllocs()
				b.ResetTimer()
				must(b, l.run(b.Context(), c, b.N))
			})
		}
	}
}
