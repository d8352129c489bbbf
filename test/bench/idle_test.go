package bench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxExtraHeap is the limit on heap per idle connection above that of a bare server.
const maxExtraHeap = 512

// idleCase is the history of the idle connections.
type idleCase struct {
	wire wire
	rpcs int // the number of RPCs on each connection before it became idle
}

func (c idleCase) String() string { return fmt.Sprintf("wire=%s/rpcs=%d", c.wire, c.rpcs) }

// idleCases includes 0 RPCs: a subchannel that round_robin keeps and has not used yet.
func idleCases() []idleCase {
	return []idleCase{{tcp, 0}, {tcp, 10}, {overTLS, 0}, {overTLS, 10}}
}

// Promise 6: no read buffer per idle connection.
func TestIdleConnectionHeap(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector needs memory of its own")
	}
	const n = 200
	for _, c := range idleCases() {
		t.Run(c.String(), func(t *testing.T) {
			off := medianIdle(t, bare, c, n)
			for _, kind := range []serverKind{evenkeel, ownKeys} {
				on := medianIdle(t, kind, c, n)
				t.Logf("bare: %.0f, %s: %.0f bytes of heap per idle connection", off.heap, kind, on.heap)
				if on.heap > off.heap+maxExtraHeap {
					t.Errorf("%s: got %.0f bytes of heap more than a bare server, want at most %d", kind, on.heap-off.heap, maxExtraHeap)
				}
			}
		})
	}
}

// BenchmarkIdleHeap reports heap and stacks of the server per idle connection.
func BenchmarkIdleHeap(b *testing.B) {
	for _, c := range idleCases() {
		for _, kind := range append(compared(), ownKeys) {
			b.Run(fmt.Sprintf("%s/server=%s", c, kind), func(b *testing.B) {
				addr := idleServer(b, kind, c)
				for b.Loop() {
					m := idle(b, addr, c, 1000)
					b.ReportMetric(m.heap, "heap-B/conn")
					b.ReportMetric(m.stack, "stack-B/conn")
				}
				b.ReportMetric(0, "ns/op") // meaningless: the time of the herd
			})
		}
	}
}

// perConn is the memory of one connection, in bytes.
type perConn struct{ heap, stack float64 }

// medianIdle returns the measurement with the median heap of seven. What else the process
// allocates in between changes one by up to 100 bytes a connection.
func medianIdle(t *testing.T, kind serverKind, c idleCase, n int) perConn {
	t.Helper()
	addr := idleServer(t, kind, c)
	ms := make([]perConn, 7)
	for i := range ms {
		ms[i] = idle(t, addr, c, n)
	}
	slices.SortFunc(ms, func(a, b perConn) int { return int(a.heap - b.heap) })
	return ms[len(ms)/2]
}

// idleServer returns the address of a new server that has had clients before.
func idleServer(tb testing.TB, kind serverKind, c idleCase) string {
	tb.Helper()
	addr, _ := listen(tb, newServer(tb, kind, c.wire), c.wire)
	herd(tb, addr, c, 10)()
	return addr
}

// idle connects n clients from another process, waits until they are idle and returns the
// server's memory per connection.
func idle(tb testing.TB, addr string, c idleCase, n int) perConn {
	tb.Helper()
	growGoroutines(8 * n)
	before := settled()
	end := herd(tb, addr, c, n)
	after := settled()
	end()
	return perConn{
		heap:  (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n),
		stack: (float64(after.StackInuse) - float64(before.StackInuse)) / float64(n),
	}
}

// growGoroutines leaves the runtime with n dead goroutines. The runtime reuses but never frees
// them, so the first measurement would otherwise pay for those of all others.
func growGoroutines(n int) {
	var wg sync.WaitGroup
	hold := make(chan struct{})
	for range n {
		wg.Go(func() { <-hold })
	}
	close(hold)
	wg.Wait()
}

// settled runs the garbage collector until the heap stays the same, since the last frames of the
// herd may still be in flight. Two collections empty a sync.Pool.
func settled() runtime.MemStats {
	const most, same = 200, 4096
	var m runtime.MemStats
	last, calm := uint64(0), 0
	for i := 0; i < most && calm < 3; i++ {
		runtime.GC()
		runtime.ReadMemStats(&m)
		calm++
		if max(m.HeapAlloc, last)-min(m.HeapAlloc, last) > same {
			calm = 0
		}
		last = m.HeapAlloc
	}
	return m
}

// herdEnv makes a child of this test binary run as a herd of clients.
const herdEnv = "EVENKEEL_BENCH_HERD"

// herd starts a process with n clients and waits until their connections are idle. It is another
// process so that the heap of this one is the server's alone.
//
// end ends that process and waits until the server's goroutines for its connections have ended.
// On a busy machine that takes a while, and their memory would spoil the next measurement.
func herd(tb testing.TB, addr string, c idleCase, n int) (end func()) {
	tb.Helper()
	goroutines := runtime.NumGoroutine()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", herdEnv, addr, c.wire, n, c.rpcs))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(tb, err)
	out, err := cmd.StdoutPipe()
	must(tb, err)
	must(tb, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != herdReady {
		_ = in.Close()
		tb.Fatalf("the herd printed %q, want %q: %v, %v", line, herdReady, err, cmd.Wait())
	}
	return func() {
		must(tb, in.Close())
		_, _ = io.Copy(io.Discard, out)
		must(tb, cmd.Wait())
		for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines; runtime.GC() {
			if time.Now().After(deadline) {
				tb.Fatalf("got %d goroutines, want at most %d as before the herd", runtime.NumGoroutine(), goroutines)
			}
		}
	}
}
