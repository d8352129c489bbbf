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
	"github.com/evenkeel-go/evenkeel/example/internal/server"
)

// Hidden commands: the demo runs servers and clients as processes of this program.
const (
	serveCommand = "serve"
	callCommand  = "call"
)

// Exit statuses of Main.
const (
	exitOK          = 0
	exitFail        = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Main is the whole program: it returns its exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case serveCommand:
			return server.Main(args[1:], stdout, stderr)
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

// play runs the timeline under a view and returns the promises that broke.
func play(ctx context.Context, o *options, stdout io.Writer) ([]string, error) {
	t, err := newTimeline(o)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	stalled := watchClock(ctx)
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
	if late := stalled(); late > stallLimit {
		fmt.Fprintf(stdout, "NOTE: this machine stood still for up to %.1f s: the figures say more of it than of the fleets\n", late.Seconds())
	}
	return broken, nil
}

// A clock that ticks so late means that processes did not get to run: RPCs then
// fail of their deadlines, whatever servers and clients do.
const (
	clockTick  = 100 * time.Millisecond
	stallLimit = 500 * time.Millisecond
)

// watchClock watches until ctx is done, and returns how to ask for the longest delay
// of a tick.
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
	p, held, err := freePorts(o)
	if err != nil {
		return nil, err
	}
	t := &timeline{o: o, board: newBoard(), figures: map[string][]figure{}, held: held}
	for _, id := range o.fleets() {
		t.columns = append(t.columns, newColumn(o, id, p, []string{exe}, t.board.sayf))
	}
	t.board.columns = t.columns
	return t, nil
}

// The ports that are tried first; those of a test in another terminal are passed over.
const (
	firstGRPC = 50051
	firstHTTP = 8080
	firstDNS  = 5300
)

// lastPod is the highest number that a pod gets.
const lastPod = small + 2*(large-small)

// guard is an address that only demos listen on, to tell each other apart.
const guard = "127.0.1.254"

// freePorts also returns what holds them: two demos at a time must not share their pods.
func freePorts(o *options) (ports, []io.Closer, error) {
	var hosts []string
	for _, id := range o.fleets() {
		for n := 1; n <= lastPod; n++ {
			hosts = append(hosts, fmt.Sprintf("127.0.%d.%d", nets[id], n))
		}
		hosts = append(hosts, fmt.Sprintf("127.0.%d.250", nets[id]))
	}
	var p ports
	var held [3]io.Closer
	var errs [3]error
	p.grpc, held[0], errs[0] = fleet.HoldPort(hosts, guard, firstGRPC)
	p.http, held[1], errs[1] = fleet.HoldPort(hosts, guard, firstHTTP, p.grpc)
	p.dns, held[2], errs[2] = fleet.HoldPort(hosts, guard, firstDNS, p.grpc, p.http)
	return p, held[:], errors.Join(errs[:]...)
}

// stop ends all processes; a second call does nothing.
func (t *timeline) stop() {
	var wg sync.WaitGroup
	for _, c := range t.columns {
		wg.Go(func() { c.stopOnce.Do(c.stop) })
	}
	wg.Wait()
	for _, h := range t.held {
		_ = h.Close()
	}
}

// broken lists the promises that broke, of evenkeel's fleet alone.
func (t *timeline) broken() []string {
	var out []string
	for _, c := range t.columns {
		if c.id != withEvenkeel {
			continue
		}
		if n := t.between(c); n > 0 {
			out = append(out, fmt.Sprintf("%d RPCs failed before the first change or between two", n))
		}
		for i := range t.figures[c.id] {
			out = append(out, t.figures[c.id][i].broken(t.o, c.channels(), i == 0)...)
		}
	}
	return out
}

// between is how many RPCs failed in none of the phases.
func (t *timeline) between(c *column) int {
	n := c.tally.Failed(time.Time{}, time.Now())
	for i := range t.figures[c.id] {
		n -= t.figures[c.id][i].failed
	}
	return n
}

// report prints the end.
func report(w io.Writer, t *timeline, broken []string) {
	fmt.Fprintf(w, "\n%s\n\n", table(t.columns, t.figures))
	for _, c := range t.columns {
		fmt.Fprintf(w, "%s: %d calls, %d failed\n", c.title, c.tally.Calls(), c.tally.Failed(time.Time{}, time.Now()))
	}
	fmt.Fprintln(w, footnote)
	for _, one := range broken {
		fmt.Fprintln(w, "BROKEN PROMISE:", one)
	}
	if len(broken) > 0 {
		for _, c := range t.columns {
			c.lastWords(w)
		}
	}
	if len(broken) == 0 && t.figures[withEvenkeel] != nil {
		fmt.Fprintln(w, "every promise held")
	}
}

const footnote = `
Even: from then on no pod had over 1.1 times the mean of a second's calls. Times
count from the moment when the clients' DNS had all new pods. How soon
MaxConnectionAge notices depends on the age that connections happen to have.`

func describePorts(p ports) string {
	text := fmt.Sprintf("gRPC on port %d, health on %d, DNS on %d", p.grpc, p.http, p.dns)
	if p != (ports{firstGRPC, firstHTTP, firstDNS}) {
		text += " (others were taken)"
	}
	return text
}

// listenNear takes addr, or the next free port on the same host.
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

// pageTries is how many ports the page looks at.
const pageTries = 100
