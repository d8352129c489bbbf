//go:build interop && linux

package faults

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/faults/link"
)

// row is one bad network.
type row struct {
	name  string
	shape link.Shape
	// big is the size of the messages of one more worker.
	big int
	// workers is the number of unary workers of each client in another language, if not 2.
	workers int
	// faults returns how many packets the network has harmed, nil if it only delays them.
	faults func(link.Stats) int
	// short is set if each run of CI has the row.
	short bool
}

const ms = time.Millisecond

func rows() []row {
	lost := func(s link.Stats) int { return s.Lost }
	return []row{
		{name: "20 ms", shape: link.Shape{Delay: 20 * ms}},
		{name: "100 ± 30 ms", shape: link.Shape{Delay: 100 * ms, Jitter: 30 * ms}, short: true},
		{name: "1 % loss, 10 ms", shape: link.Shape{Delay: 10 * ms, Loss: 0.01}, faults: lost},
		{name: "5 % loss, 10 ms", shape: link.Shape{Delay: 10 * ms, Loss: 0.05}, faults: lost, short: true},
		{name: "2 % loss, 50 ± 5 ms", shape: link.Shape{Delay: 50 * ms, Jitter: 5 * ms, Loss: 0.02}, faults: lost},
		{
			name: "1 Mbit/s, 10 ms", shape: link.Shape{Delay: 10 * ms, Rate: 1_000_000}, big: 64 << 10, workers: 1,
			faults: func(s link.Stats) int { return s.Waited }, short: true,
		},
		{
			name: "5 % duplicates, 10 ± 5 ms", shape: link.Shape{Delay: 10 * ms, Jitter: 5 * ms, Duplicate: 0.05},
			faults: func(s link.Stats) int { return s.Duplicated },
		},
	}
}

// times are the parts of a run.
type times struct{ warm, rest, drained time.Duration }

func (t times) all() time.Duration { return t.warm + t.rest + t.drained }

func runTimes() times {
	if *long {
		return times{2 * time.Second, 2 * time.Second, 8 * time.Second}
	}
	return times{time.Second, 2 * time.Second, 6 * time.Second}
}

// outcome is what came of a row, with evenkeel or bare.
type outcome struct {
	clients                       []result
	goAways, opened, forced, left int
	rest, drained                 latency
	idle                          time.Duration // how long the drain of an idle connection took
	late                          time.Duration // by how much the link was late
	served                        int
}

// No call fails because its connection is drained, on whatever network.
func TestRows(t *testing.T) {
	needNetworks(t)
	t.Parallel()
	var tab table
	t.Run("rows", func(t *testing.T) {
		for _, r := range rows() {
			if !r.short && !*long {
				continue
			}
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				with := r.inTime(t, false)
				bare := r.inTime(t, true)
				tab.add(r, with, bare)
				r.check(t, with, bare)
			})
		}
	})
	tab.show(t)
}

// mostLate is by how much the link may be late. On a machine that is busier, the network is not that
// of the row, and calls fail by their deadlines with any server.
const mostLate = time.Second

// inTime runs the row until the machine was not too busy for it, three times at most.
func (r row) inTime(t *testing.T, bare bool) (o outcome) {
	for range 3 {
		if o = r.run(t, bare); o.late <= mostLate {
			break
		}
		t.Logf("the link was %v late, since the machine is busy", o.late)
	}
	return o
}

// run makes calls over the network of the row.
func (r row) run(t *testing.T, bare bool) (o outcome) {
	w := newWorld(t, place{pods: 2, bare: bare, shape: r.shape})
	tm := runTimes()
	start := time.Now()
	end := start.Add(tm.all())
	others := r.startOthers(t, w, int(tm.all()/time.Second))
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	var wg sync.WaitGroup
	if !bare {
		wg.Go(func() {
			if pause(ctx, tm.warm+tm.rest) == nil {
				w.drainAlternately(ctx)
			}
		})
	}
	tal, ch := newTally(), w.dial(t)
	ch.work(tal, end, r.big, 10*time.Second)
	wg.Wait()
	o.clients = append(o.clients, tal.result)
	for _, c := range others {
		o.clients = append(o.clients, c.result(t))
	}
	quiet := start.Add(tm.warm + tm.rest)
	o.rest, o.drained = tal.between(start.Add(tm.warm), quiet), tal.between(quiet, end)
	if !bare {
		o.left = w.leftOpen(t)
	}
	for _, c := range others {
		c.end()
	}
	if !bare {
		o.idle = w.drainIdle(t)
	}
	ch.cc.Close()
	stats := w.link.Stats()
	if o.late = stats.Late; r.faults != nil && r.faults(stats) == 0 {
		t.Errorf("the network has done no harm: %+v", stats)
	}
	if !bare {
		r.count(t, w, &o)
	}
	return o
}

// startOthers starts the clients in other languages.
func (r row) startOthers(t *testing.T, w *world, seconds int) (all []*process) {
	t.Helper()
	workers := r.workers
	if workers == 0 {
		workers = 2
	}
	for _, p := range programs() {
		if c := w.startProgram(t, p, seconds, workers); c != nil {
			all = append(all, c)
		}
	}
	return all
}

// drainIdle drains the idle connection of the grpc-go client and returns how long it takes until it is
// closed. Other clients may take longer: C-core 1.51 reads an idle connection every 5 s only.
func (w *world) drainIdle(t *testing.T) time.Duration {
	t.Helper()
	eventually(t, time.Minute, "the other clients are still connected", func() bool { return w.sum(t, connections) == len(w.all) })
	start := time.Now()
	w.all[0].bal.DrainAll(t.Context())
	eventually(t, time.Minute, "idle connections are still draining", func() bool { return draining(w.all[0].status(t)) == 0 })
	return time.Since(start)
}

// count adds up what the pods have counted, once all clients have gone.
func (r row) count(t *testing.T, w *world, o *outcome) {
	t.Helper()
	w.checkClosed(t, time.Minute)
	o.goAways, o.opened, o.forced = w.sum(t, goAways), w.sum(t, opened), w.sum(t, forced)
	o.served = w.served()
	for _, p := range w.all {
		if err := p.bal.Shutdown(context.Background(), p.srv); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
}

// check compares the outcome with the limits.
func (r row) check(t *testing.T, with, bare outcome) {
	t.Helper()
	t.Logf("with %+v\nbare %+v", with, bare)
	succeeded := 0
	for _, c := range with.clients {
		succeeded += c.Calls - c.Failed
		if allowed := allowedFailures(c, with.goAways); c.Failed > allowed {
			t.Errorf("%s: %d of %d calls failed, want at most %d: %v", c.Client, c.Failed, c.Calls, allowed, c.Errors)
		}
	}
	if with.served != succeeded {
		t.Errorf("the pods have served %d calls, want the %d that succeeded", with.served, succeeded)
	}
	if with.forced != 0 || with.left != 0 {
		t.Errorf("%d connections were closed by force and %d sockets left open, want none", with.forced, with.left)
	}
	if least := int(runTimes().drained/usualAge) * len(with.clients); with.goAways < least {
		t.Errorf("got %d GOAWAYs, want at least %d", with.goAways, least)
	}
}

// allowedFailures is 0 for all clients but those that refuse calls by themselves.
func allowedFailures(c result, goAways int) int {
	for _, p := range programs() {
		if p.name != c.Client || p.failing == "" {
			continue
		}
		for text := range c.Errors {
			if !strings.Contains(text, p.failing) {
				return 0
			}
		}
		return goAways
	}
	return 0
}

// table collects the outcomes.
type table struct {
	mu    sync.Mutex
	lines map[string][2]string
}

func (tab *table) add(r row, with, bare outcome) {
	var calls strings.Builder
	for i, c := range with.clients {
		b := bare.clients[i]
		fmt.Fprintf(&calls, "| %s | %s %s | %d | %d | %d | %d |\n", r.name, c.Client, c.Version, c.Calls, c.Failed, b.Calls, b.Failed)
	}
	cost := fmt.Sprintf("| %s | %d | %d | %d | %d | %v | %v | %v | %d ms |\n",
		r.name, with.goAways, with.opened, with.forced, with.left, with.rest, with.drained, bare.drained, with.idle.Milliseconds())
	tab.mu.Lock()
	defer tab.mu.Unlock()
	if tab.lines == nil {
		tab.lines = map[string][2]string{}
	}
	tab.lines[r.name] = [2]string{calls.String(), cost}
}

// show prints both tables in the order of the rows, and writes them to a file for docs/clients.md.
func (tab *table) show(t *testing.T) {
	t.Helper()
	both := [2]string{
		"| network | client | calls | failed | calls, bare | failed, bare |\n|---|---|---|---|---|---|\n",
		"| network | GOAWAYs | connections | forced | sockets left open | at rest | while drained | bare | drain of an idle connection |\n" + "|---|---|---|---|---|---|---|---|---|\n",
	}
	for _, r := range rows() {
		for i := range both {
			both[i] += tab.lines[r.name][i]
		}
	}
	text := both[0] + "\n" + both[1]
	fmt.Print(text)
	if err := os.MkdirAll(".tmp", 0o755); err == nil {
		err = os.WriteFile(".tmp/table.md", []byte(text), 0o644)
		if err != nil {
			t.Error(err)
		}
	}
}
