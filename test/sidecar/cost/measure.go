package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// request is small, as most are.
var request = &hellov1.HiRequest{ToWho: "somebody", Message: strings.Repeat("x", 100)}

// turn calls for a while.
func (w *way) turn(ctx context.Context, o *options) error {
	var conns []*grpc.ClientConn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range o.channels {
		c, err := w.dial()
		if err != nil {
			return err
		}
		if _, err := hellov1.NewHelloServiceClient(c).Hi(ctx, request); err != nil {
			return err
		}
		conns = append(conns, c)
	}
	before := w.cpuTime()
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	end := time.Now().Add(o.span)
	for _, c := range conns {
		for range o.perChannel {
			wg.Go(func() {
				took, err := callUntil(ctx, hellov1.NewHelloServiceClient(c), end)
				mu.Lock()
				defer mu.Unlock()
				w.latencies = append(w.latencies, took...)
				if err != nil {
					failed = err
				}
			})
		}
	}
	wg.Wait()
	w.cpu += w.cpuTime() - before
	w.calls = len(w.latencies)
	return failed
}

// callUntil makes one call after the other.
func callUntil(ctx context.Context, c hellov1.HelloServiceClient, end time.Time) (took []time.Duration, err error) {
	for now := time.Now(); now.Before(end); {
		if _, err := c.Hi(ctx, request); err != nil {
			return took, err
		}
		next := time.Now()
		took = append(took, next.Sub(now))
		now = next
	}
	return took, nil
}

// weigh measures the memory of idle connections, on which one call was made.
func (w *way) weigh(ctx context.Context, o *options) error {
	if w.proc == nil {
		return nil
	}
	w.base, w.rss = w.memory("RssAnon:"), w.memory("VmRSS:")
	var conns []*grpc.ClientConn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range o.idle {
		c, err := w.dial()
		if err != nil {
			return err
		}
		conns = append(conns, c)
		if _, err := hellov1.NewHelloServiceClient(c).Hi(ctx, request); err != nil {
			return err
		}
	}
	time.Sleep(3 * time.Second) // buffers that were used go back
	w.perConn = float64(w.memory("RssAnon:")-w.base) / float64(o.idle)
	return nil
}

// cpuTime is what the process before the server has used.
func (w *way) cpuTime() time.Duration {
	if w.proc == nil {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.proc.PID()))
	if err != nil {
		return 0
	}
	// The name of the program may hold spaces, so the fields are counted after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}

// memory returns a line of the process's status in bytes. RssAnon is its own memory, VmRSS also
// has the pages of its binary.
func (w *way) memory(line string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.proc.PID()))
	if err != nil {
		return 0
	}
	for text := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(text, line); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// report prints the table.
func report(out io.Writer, o *options, ways []*way) {
	fmt.Fprintf(out, "%d turns of %v for each way, %d connections with %d calls in flight each; memory with %d idle connections\n\n",
		o.rounds, o.span, o.channels, o.perChannel, o.idle)
	fmt.Fprintln(out, "| way | calls/s | p50 | p99 | CPU per call | memory at rest | memory per connection | binary |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	for _, w := range ways {
		slices.Sort(w.latencies)
		cpu, rest, per := "", "", ""
		if w.proc != nil {
			cpu = fmt.Sprintf("%.1f µs", float64(w.cpu.Microseconds())/float64(w.calls))
			rest = fmt.Sprintf("%.1f MiB (RSS %.0f)", float64(w.base)/(1<<20), float64(w.rss)/(1<<20))
			per = fmt.Sprintf("%.1f KiB", w.perConn/(1<<10))
		}
		size := int64(0)
		if info, err := os.Stat(w.binary); err == nil {
			size = info.Size()
		}
		fmt.Fprintf(out, "| %s | %.0f | %s | %s | %s | %s | %s | %.0f MiB |\n", w.name,
			float64(w.calls)/(float64(o.rounds)*o.span.Seconds()), w.quantile(0.5), w.quantile(0.99), cpu, rest, per, float64(size)/(1<<20))
	}
}

func (w *way) quantile(q float64) string {
	if len(w.latencies) == 0 {
		return ""
	}
	return w.latencies[int(q*float64(len(w.latencies)-1))].Round(10 * time.Microsecond).String()
}
