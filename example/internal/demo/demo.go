package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/charmbracelet/x/term"

	"github.com/evenkeel-go/evenkeel/example/caller"
	"github.com/evenkeel-go/evenkeel/example/fleet"
	"github.com/evenkeel-go/evenkeel/example/internal/plain"
	"github.com/evenkeel-go/evenkeel/example/internal/server"
)

// Hidden commands with which the demo runs this program as a server or as a client.
const (
	serveCommand = "serve"
	plainCommand = "serve-plain"
	callCommand  = "call"
)

// Exit statuses of Main.
const (
	exitOK          = 0
	exitFail        = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Main runs the whole program and returns its exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case serveCommand:
			return server.Main(args[1:], stdout, stderr)
		case plainCommand:
			return plain.Main(args[1:], stderr)
		case callCommand:
			return caller.Main(args[1:], stdout, stderr)
		}
	}
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "demo:", strings.ReplaceAll(err.Error(), "\n", "; "))
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broken, err := play(ctx, &o, stdout)
	switch {
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "demo: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintln(stderr, "demo:", strings.ReplaceAll(err.Error(), "\n", "; "))
		return exitFail
	case len(broken) > 0:
		return exitFail
	}
	return exitOK
}

// play runs the timeline with a view and returns the promises that broke.
func play(ctx context.Context, o *options, stdout io.Writer) ([]string, error) {
	t, err := newTimeline(o)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	longestStall := watchClock(ctx)
	page, err := servePage(ctx, o.page, t.board)
	if err != nil {
		return nil, err
	}
	defer page.close()
	if o.headless || !isTerminal(stdout) {
		err = headless(ctx, t, page.url, stdout)
	} else {
		err = interactive(ctx, t, page.url)
	}
	t.stop()
	if err != nil {
		return nil, err
	}
	broken := t.broken()
	t.board.finish(table(t.columns, t.figures))
	report(stdout, t, broken)
	if stall := longestStall(); stall > stallLimit {
		fmt.Fprintf(stdout, "NOTE: this machine stalled for up to %.1f s, which distorts the figures: run the demo again with less load on the machine\n", stall.Seconds())
	}
	return broken, nil
}

// A tick that is later than stallLimit means that processes did not get to run. RPCs then
// exceed their deadlines, whatever servers and clients do.
const (
	clockTick  = 100 * time.Millisecond
	stallLimit = 500 * time.Millisecond
)

// watchClock measures the delay of ticks until ctx is done. The function that it returns
// returns the longest delay so far.
func watchClock(ctx context.Context) (longest func() time.Duration) {
	var late atomic.Int64
	go func() {
		for last := time.Now(); ctx.Err() == nil; last = time.Now() {
			time.Sleep(clockTick)
			late.Store(max(late.Load(), int64(time.Since(last)-clockTick)))
		}
	}()
	return func() time.Duration { return time.Duration(late.Load()) }
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

func newTimeline(o *options) (*timeline, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, guards, err := freePorts(o)
	if err != nil {
		return nil, err
	}
	t := &timeline{o: o, board: newBoard(), figures: map[string][]figure{}, guards: guards}
	for _, id := range o.fleets() {
		t.columns = append(t.columns, newColumn(o, id, p, []string{exe}, t.board.logf))
	}
	t.board.columns = t.columns
	return t, nil
}

// The first ports to try. Ports that another program uses are skipped.
const (
	firstGRPC = 50051
	firstHTTP = 8080
	firstDNS  = 5300
	firstWeb  = 8081
)

// lastPod is the highest number of a pod.
const lastPod = small + 2*(large-small)

// guard is an address that only demos listen on, so that two of them use different ports.
const guard = "127.0.1.254"

// freePorts returns ports that are free on all hosts. Another demo can use them only once
// the closers are closed: two demos must not mix their pods.
func freePorts(o *options) (ports, []io.Closer, error) {
	var hosts []string
	for _, id := range o.fleets() {
		for n := 1; n <= lastPod; n++ {
			hosts = append(hosts, fmt.Sprintf("127.0.%d.%d", nets[id], n))
		}
		hosts = append(hosts, fmt.Sprintf("127.0.%d.240", nets[id]), fmt.Sprintf("127.0.%d.250", nets[id]))
	}
	var p ports
	var guards [4]io.Closer
	var errs [4]error
	p.grpc, guards[0], errs[0] = fleet.HoldPort(hosts, guard, firstGRPC)
	p.http, guards[1], errs[1] = fleet.HoldPort(hosts, guard, firstHTTP, p.grpc)
	p.dns, guards[2], errs[2] = fleet.HoldPort(hosts, guard, firstDNS, p.grpc, p.http)
	p.web, guards[3], errs[3] = fleet.HoldPort(hosts, guard, firstWeb, p.grpc, p.http, p.dns)
	return p, guards[:], errors.Join(errs[:]...)
}

// stop ends all processes. A second call does nothing.
func (t *timeline) stop() {
	var wg sync.WaitGroup
	for _, c := range t.columns {
		wg.Go(func() { c.stopOnce.Do(c.stop) })
	}
	wg.Wait()
	for _, g := range t.guards {
		_ = g.Close()
	}
	if t.scratch != "" {
		_ = os.RemoveAll(t.scratch)
	}
}

// broken lists the promises that the fleet with evenkeel broke.
func (t *timeline) broken() []string {
	var out []string
	for _, c := range t.columns {
		if c.id != withEvenkeel {
			continue
		}
		if n := t.failedBetween(c); n > 0 {
			out = append(out, fmt.Sprintf("%d RPCs failed before the first change or between two changes", n))
		}
		for i := range t.figures[c.id] {
			out = append(out, t.figures[c.id][i].broken(t.o, c.channels(), i == 0)...)
		}
	}
	return out
}

// failedBetween returns the number of RPCs that failed outside all phases.
func (t *timeline) failedBetween(c *column) int {
	n := c.tally.Failed(time.Time{}, time.Now())
	for i := range t.figures[c.id] {
		n -= t.figures[c.id][i].failed
	}
	return n
}

// report prints the table and the verdict.
func report(w io.Writer, t *timeline, broken []string) {
	fmt.Fprintf(w, "\n%s\n\n", table(t.columns, t.figures))
	for _, c := range t.columns {
		fmt.Fprintf(w, "%s: %d calls, %d failed\n", c.title, c.tally.Calls(), c.tally.Failed(time.Time{}, time.Now()))
	}
	fmt.Fprintln(w, footnote)
	for _, promise := range broken {
		fmt.Fprintln(w, "BROKEN PROMISE:", promise)
	}
	if len(broken) > 0 {
		for _, c := range t.columns {
			c.printStatus(w)
		}
	}
	if len(broken) == 0 && t.figures[withEvenkeel] != nil {
		fmt.Fprintln(w, "every promise held")
	}
}

const footnote = `
Even means that from then on no pod answered more than 1.1 times the mean of the
calls in a second, or 1.45 times where each client has one connection (-via). Times
count from the moment when the clients' DNS lists all new pods. How soon
MaxConnectionAge acts depends on how old connections happen to be. On HTTP/1.1 (-via
gateway) an answer that closes the connection counts as a GOAWAY.`

func describePorts(p ports) string {
	text := fmt.Sprintf("each pod serves gRPC on port %d, its gateway or the server behind its sidecar on port %d, and health on port %d; DNS is on port %d", p.grpc, p.web, p.http, p.dns)
	if p != (ports{firstGRPC, firstHTTP, firstDNS, firstWeb}) {
		text += " (the usual ports are taken)"
	}
	return text
}

// listenNear listens on addr, or on the next free port of the same host.
func listenNear(ctx context.Context, addr string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	for range pageTries {
		var ln net.Listener
		if ln, err = lc.Listen(ctx, "tcp", tcp.String()); err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
		tcp.Port++
	}
	return nil, err
}

// pageTries is how many ports are tried for the page.
const pageTries = 100
