// Command soak runs the rows of the interop tests in turn, for hours, until they have made a
// large number of calls in all. ../run.sh builds what it needs; `make soak` runs it.
//
//	soak [-calls N] [-slice 60s] [-only REGEXP] [-parallel N] [-reset]    from test/interop
//	soak -table                                                           only writes the table
//
// A row calls for one slice, before servers of its own that drain every connection every two
// seconds. After each slice the limits of the interop tests must hold. Then the row that has
// called for the shortest time comes next, so that slow clients get as much time as fast ones.
//
// What was done stands in a file that is written after each slice. A soak that was stopped loses
// at most the slices that were running, and the next one goes on, with the commit of that day.
//
// Exit status 0 means that all calls were made and no limit was ever broken, 1 that one was, 2 that
// the soak could not go on, and 130 that it was stopped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// shortest is the shortest slice that the interop tests take.
const shortest = 4 * time.Second

type options struct {
	calls, parallel      int
	slice                time.Duration
	only                 *regexp.Regexp
	reset, table         bool
	program, state, page string
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
	st, err := play(ctx, o, stdout)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stdout, "soak: stopped; make soak goes on, make soak-table writes the table so far")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "soak:", err)
		return 2
	case st.broken() > 0 && !o.table:
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.calls, "calls", 100_000_000, "calls to reach in all, with those of earlier runs")
	f.IntVar(&o.parallel, "parallel", 4, "rows that run at the same time")
	f.DurationVar(&o.slice, "slice", time.Minute, "how long a row calls at a stretch")
	only := f.String("only", "", "`regexp` of the rows that run")
	f.BoolVar(&o.reset, "reset", false, "forget what earlier runs did")
	f.BoolVar(&o.table, "table", false, "write the table of what was done so far, and run nothing")
	f.StringVar(&o.program, "program", ".tmp/interop.test", "the compiled interop tests")
	f.StringVar(&o.state, "state", ".tmp/soak.json", "`file` that keeps what was done")
	f.StringVar(&o.page, "page", "../../docs/soak.md", "`file` that gets the table")
	if err = f.Parse(args); err != nil {
		return o, err
	}
	if o.only, err = regexp.Compile(*only); err == nil {
		err = o.validate(f.NArg())
	}
	if err != nil {
		fmt.Fprintln(stderr, "soak:", err)
	}
	return o, err
}

func (o options) validate(args int) error {
	switch {
	case args > 0:
		return errors.New("soak takes flags only")
	case o.calls <= 0 || o.parallel <= 0:
		return errors.New("-calls and -parallel must be positive")
	case o.slice < shortest || o.slice%time.Second != 0:
		return fmt.Errorf("-slice must be whole seconds, at least %v", shortest)
	}
	return nil
}

// play runs the soak and writes the table when all calls were made. It returns what was done.
func play(ctx context.Context, o options, out io.Writer) (st *state, err error) {
	if o.table {
		return tableOnly(o)
	}
	unlock, err := lock(o.state)
	if err != nil {
		return nil, err
	}
	defer unlock()
	st = &state{}
	if !o.reset {
		if st, err = load(o.state); err != nil {
			return nil, err
		}
	}
	if err := soakRows(ctx, o, st, out); err != nil || ctx.Err() != nil {
		return st, err
	}
	return st, writeTable(o.page, st)
}

// tableOnly writes the table, also while a soak runs. A page keeps the table that it has if no soak
// has run here.
func tableOnly(o options) (*state, error) {
	st, err := load(o.state)
	if err != nil {
		return nil, err
	}
	if len(st.Rows) == 0 {
		return nil, fmt.Errorf("%s has no slice yet", o.state)
	}
	return st, writeTable(o.page, st)
}

func soakRows(ctx context.Context, o options, st *state, out io.Writer) error {
	p, err := newProgram(o.program)
	if err != nil {
		return err
	}
	defer p.close()
	all, err := p.rows(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(r row) bool { return !o.only.MatchString(r.Name) })
	if len(all) == 0 {
		return fmt.Errorf("no row matches %q", o.only)
	}
	st.begin(commitID(ctx))
	if err := st.save(o.state); err != nil { // so that a reset is kept even if no slice ends
		return err
	}
	s := &soak{
		state: st, rows: all, goal: o.calls, parallel: o.parallel, length: o.slice, out: out,
		slice: p.slice, save: func() error { return st.save(o.state) },
	}
	return s.run(ctx)
}
