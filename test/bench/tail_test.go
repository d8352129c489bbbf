package bench

import (
	"fmt"
	"testing"
	"time"
)

// held is the number of connections of a pod whose tail is measured.
const held = 100_000

// BenchmarkTail measures the 99th percentile of RPCs to a pod on one processor that holds 100,000
// connections: of a bare server without them, of one whose Balancer does not run, and of one
// whose Balancer does. Blocks of two seconds alternate between the three. The limit is 1.2 times
// that of the second.
func BenchmarkTail(b *testing.B) {
	for _, fresh := range []bool{false, true} {
		b.Run(fmt.Sprintf("conns=%d/had-rpcs=%t", held, fresh), func(b *testing.B) {
			kinds := []podKind{barePod, noRunPod, runningPod}
			pods, took := map[podKind]*remotePod{}, map[podKind][]float64{}
			for _, k := range kinds {
				pods[k] = startPod(b, podSpec{kind: k, held: held, fresh: fresh})
			}
			for i := 0; b.Loop(); i++ {
				for j := range kinds {
					k := kinds[(i+j)%len(kinds)]
					took[k] = append(took[k], pods[k].callEvery(b, 2*time.Millisecond, 2*time.Second)...)
				}
			}
			for _, k := range kinds {
				b.ReportMetric(quantile(took[k], 0.99), "p99-us-"+string(k))
			}
			b.ReportMetric(quantile(took[runningPod], 0.99)/quantile(took[noRunPod], 0.99), "ratio")
			b.ReportMetric(0, "ns/op") // meaningless: the time of the blocks
		})
	}
}

// BenchmarkAtRest measures the CPU time of a pod with 20,000 connections and without RPCs, in
// milliseconds a minute. The limit is 100. A bare server's is the control.
func BenchmarkAtRest(b *testing.B) {
	for _, s := range []podSpec{{kind: barePod}, {kind: runningPod}, {kind: runningPod, held: 20_000}, {kind: runningPod, held: 20_000, fresh: true}} {
		b.Run(fmt.Sprintf("server=%s/conns=%d/had-rpcs=%t", s.kind, s.held, s.fresh), func(b *testing.B) {
			p := startPod(b, s)
			time.Sleep(2 * time.Second)
			used, begun := p.ask(b, "cpu"), time.Now()
			for b.Loop() {
				time.Sleep(2 * time.Second)
			}
			used = p.ask(b, "cpu") - used
			b.ReportMetric(float64(used)/1e6/time.Since(begun).Minutes(), "cpu-ms/min")
			b.ReportMetric(0, "ns/op") // meaningless: the time of the sleep
		})
	}
}

// channels is the number of connections that move in BenchmarkMoving.
const channels = 5000

// BenchmarkMoving measures the 99th percentile of RPCs to a pod on one processor while 5,000
// channels are drained because a pod has been added, 250 in a second, over that at rest. The
// limit is 1.5.
func BenchmarkMoving(b *testing.B) {
	var rest, moving []float64
	var busy, calm time.Duration
	for b.Loop() {
		p := startPod(b, podSpec{kind: runningPod, held: channels})
		cpu := func() time.Duration { return time.Duration(p.ask(b, "cpu")) }
		time.Sleep(3 * time.Second) // the membership settles
		begun := cpu()
		rest = append(rest, p.callEvery(b, 2*time.Millisecond, 8*time.Second)...)
		calm += cpu() - begun
		p.ask(b, "grow")
		for i := 0; p.ask(b, "moved") == 0; i++ {
			if i == 100 {
				b.Fatal("no channel has moved in 10 s")
			}
			time.Sleep(100 * time.Millisecond)
		}
		begun = cpu()
		moving = append(moving, p.callEvery(b, 2*time.Millisecond, 8*time.Second)...)
		busy += cpu() - begun
		if n := p.ask(b, "moved"); n < 1000 || n >= channels {
			b.Fatalf("%d channels have moved meanwhile", n)
		}
	}
	b.ReportMetric(quantile(rest, 0.99), "p99-us-rest")
	b.ReportMetric(quantile(moving, 0.99), "p99-us-moving")
	b.ReportMetric(quantile(moving, 0.99)/quantile(rest, 0.99), "ratio")
	b.ReportMetric(busy.Seconds()/calm.Seconds(), "cpu-ratio")
	b.ReportMetric(0, "ns/op") // meaningless: the time of the move
}
