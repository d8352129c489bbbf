package bench

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// Client and server share one process here, so allocs/op and ns/op include the client. It is the
// same in both cases.

func BenchmarkUnary(b *testing.B)               { compare(b, findLoad("Unary"), wires()) }
func BenchmarkUnaryParallel(b *testing.B)       { compare(b, findLoad("UnaryParallel"), wires()) }
func BenchmarkServerStreamMessage(b *testing.B) { compare(b, findLoad("ServerStreamMessage"), wires()) }
func BenchmarkBidiMessage(b *testing.B)         { compare(b, findLoad("BidiMessage"), wires()) }
func BenchmarkBidiRPC(b *testing.B)             { compare(b, findLoad("BidiRPC"), wires()) }

// warmUp fills the pools and grows the flow-control windows.
const warmUp = 500

func compare(b *testing.B, l load, over []wire) {
	for _, w := range over {
		for _, kind := range compared() {
			b.Run(fmt.Sprintf("wire=%s/server=%s", w, kind), func(b *testing.B) {
				c := dial(b, kind, w)
				must(b, l.run(b.Context(), c, warmUp))
				b.ReportAllocs()
				b.ResetTimer()
				must(b, l.run(b.Context(), c, b.N))
			})
		}
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkTimeRatio measures the time with evenkeel over the time without. The limit is 1.02.
// Both servers run at the same time, and blocks of about a millisecond alternate between them, so
// that both meet the same noise. Garbage collections happen only between blocks: the allocations
// are equal, and a collection would hit one server or the other by chance.
//
// It reports three views of the same blocks:
//
//   - quiet-ratio: the ratio of the first deciles, which on a busy machine are the undisturbed
//     blocks
//   - wall-ratio: the median ratio of pairs of blocks
//   - cpu-ratio: the ratio of all CPU time, client and kernel included
func BenchmarkTimeRatio(b *testing.B) {
	for _, l := range loads() {
		for _, w := range wires() {
			b.Run(fmt.Sprintf("load=%s/wire=%s", l.name, w), func(b *testing.B) { ratio(b, l, w) })
		}
	}
}

// collectEvery is the number of pairs of blocks between two garbage collections. They allocate
// some tens of megabytes.
const collectEvery = 50

func ratio(b *testing.B, l load, w wire) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	off, on := newSide(b, bare, l, w), newSide(b, evenkeel, l, w)
	var ratios []float64
	i := 0
	for b.Loop() {
		if i%collectEvery == 0 {
			runtime.GC()
		}
		first, second := off, on
		if i%2 == 1 {
			first, second = on, off
		}
		first.measure()
		second.measure()
		ratios = append(ratios, on.walls[i]/off.walls[i])
		i++
	}
	b.ReportMetric(quantile(on.walls, 0.1)/quantile(off.walls, 0.1), "quiet-ratio")
	b.ReportMetric(quantile(ratios, 0.5), "wall-ratio")
	b.ReportMetric(on.cpu.Seconds()/off.cpu.Seconds(), "cpu-ratio")
	b.ReportMetric(0, "ns/op") // meaningless: the time of a pair of blocks
}

// side is one of the two servers that alternate.
type side struct {
	block func()
	walls []float64 // seconds of each block
	cpu   time.Duration
}

func newSide(b *testing.B, kind serverKind, l load, w wire) *side {
	c := dial(b, kind, w)
	must(b, l.run(b.Context(), c, warmUp))
	return &side{block: func() { must(b, l.run(b.Context(), c, l.block)) }}
}

func (s *side) measure() {
	cpu, start := cpuTime(), time.Now()
	s.block()
	s.walls = append(s.walls, time.Since(start).Seconds())
	s.cpu += cpuTime() - cpu
}

// quantile returns a quantile of v and sorts v.
func quantile(v []float64, q float64) float64 {
	slices.Sort(v)
	return v[int(q*float64(len(v)-1))]
}
