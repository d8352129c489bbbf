// Command chaos makes RPCs against tracked servers while their connections are drained,
// reset and read slowly, and counts what was lost.
//
//	go run ./test/chaos                     a million RPCs
//	go run ./test/chaos -calls 10000000     the long form
//	go run ./test/chaos -time 30s           what can be made in 30 seconds
//
// Four pods (plaintext and TLS, with and without a small MAX_CONCURRENT_STREAMS) are drained
// every 20 to 80 ms each. One connection is reset as often. Unmodified grpc-go clients
// (round_robin, pick_first) make unary RPCs, server streams and bidi streams, with deadlines
// and cancellations of their own, small windows and slow lines. Clients built on net/http make
// unary RPCs with pauses, and leave it to the server to close connections that were idle.
//
// An RPC is lost if it failed and neither its own deadline, its own cancellation nor a reset
// of its own connection explains that. The limits are: no RPC lost, none executed twice, no
// connection and no goroutine left at the end. Exit status 1 means that one was exceeded.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

type options struct {
	calls uint64
	time  time.Duration
	seed  uint64
	every time.Duration
}

func main() {
	// The live heap is small. Collecting it less often leaves more time for RPCs.
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command returns the exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	if o.time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.time)
		defer cancel()
	}
	rep, err := play(ctx, o, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return 2
	}
	rep.print(stdout)
	if len(rep.broken()) > 0 {
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Uint64Var(&o.calls, "calls", 1_000_000, "RPCs to make")
	f.DurationVar(&o.time, "time", 0, "begin no RPC after this time; 0 means no limit")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the RPCs, drains and resets")
	f.DurationVar(&o.every, "every", 5*time.Second, "time between two lines of progress")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.every <= 0 {
		err = errors.New("chaos takes flags only, and -every must be positive")
		fmt.Fprintln(stderr, err)
	}
	return o, err
}
