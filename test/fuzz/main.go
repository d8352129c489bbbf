// Command fuzz runs all fuzz targets of some modules within a time that they share.
//
//	go run ./test/fuzz -budget 10m . ./config        targets of these modules
//	go run ./test/fuzz -budget 2h -corpus DIR -only h2conn .
//
// The corpus grows with each run and is kept: in Go's build cache, or in the folder that
// -corpus names. That folder has the layout of $(go env GOCACHE)/fuzz. A table at the end has
// a line for each target. Exit status 1 means that a target failed; the line names the input.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

type options struct {
	budget   time.Duration
	each     time.Duration
	corpus   string
	only     *regexp.Regexp
	parallel int
	modules  []string
}

func main() {
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
	targets, err := find(ctx, &o)
	if err == nil && len(targets) == 0 {
		err = errors.New("there is no fuzz target")
	}
	if err != nil {
		fmt.Fprintln(stderr, "fuzz:", err)
		return 2
	}
	results := runAll(ctx, &o, targets, stdout)
	if printTable(stdout, results) > 0 {
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.DurationVar(&o.budget, "budget", 10*time.Minute, "time that all targets share, with what their compilation takes")
	f.DurationVar(&o.each, "time", 0, "time for each target; 0 means its share of the budget")
	f.StringVar(&o.corpus, "corpus", "", "`folder` that keeps the corpus; empty means Go's build cache")
	only := f.String("only", "", "run only the targets whose package and name match this regular expression")
	f.IntVar(&o.parallel, "parallel", 0, "workers of a target; 0 means one per processor")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.modules = f.Args()
	if o.only, err = regexp.Compile(*only); err == nil && len(o.modules) == 0 {
		err = errors.New("name the folder of at least one module")
	}
	if err == nil && o.corpus != "" {
		o.corpus, err = filepath.Abs(o.corpus)
	}
	if err != nil {
		fmt.Fprintln(stderr, "fuzz:", err)
	}
	return o, err
}

// runAll runs one target after the other. Each gets an equal share of the time that is left,
// so that a target that takes longer to compile costs the others a little each.
func runAll(ctx context.Context, o *options, targets []target, stdout io.Writer) []result {
	end := time.Now().Add(o.budget)
	var all []result
	for i, t := range targets {
		if ctx.Err() != nil {
			break
		}
		d := o.each
		if d == 0 {
			d = share(time.Until(end), len(targets)-i)
		}
		fmt.Fprintf(stdout, "%s.%s for %v\n", t.pkg, t.name, d)
		r := t.run(ctx, o, d)
		if r.failed != "" {
			fmt.Fprintln(stdout, r.output)
		}
		all = append(all, r)
	}
	return all
}

// leastShare is what even the last target gets.
const leastShare = time.Second

func share(left time.Duration, targets int) time.Duration {
	return max(leastShare, (left / time.Duration(targets)).Truncate(100*time.Millisecond))
}
