// Command image packs files, usually one static binary, into a container image. It needs no
// daemon:
//
//	go run ./image -o server.tar -tag evenkeel-example-server:dev -entrypoint /server ../bin/server=/server
//
// `docker load` and `ctr images import` can read the archive. The image has no shell and no
// libc, and runs as user 65532. The same files lead to the same image, because all times in it
// are 1970.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
)

// Exit statuses.
const (
	exitFail  = 1
	exitUsage = 2
)

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "image:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(exitUsage)
	}
	if err := pack(&o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(exitFail)
	}
}

// options holds the parsed command line.
type options struct {
	out, tag, user, arch string

	entrypoint, cmd, env list
	files                []file
}

// file is a file of this machine and its path in the image.
type file struct{ from, to string }

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

const usage = `Packs files into a container image, without a daemon.

  image -o OUT.tar -tag NAME:TAG -entrypoint /PROGRAM FROM=/TO [FROM=/TO ...]

`

// parse returns flag.ErrHelp for -h, otherwise the joined errors of all wrong flags.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.out, "o", "", "write the archive to this `file` (required)")
	fs.StringVar(&o.tag, "tag", "", "`name`:tag of the image (required)")
	fs.StringVar(&o.user, "user", "65532:65532", "`uid:gid` that the image runs as")
	fs.StringVar(&o.arch, "arch", runtime.GOARCH, "`architecture` that the files are built for")
	fs.Var(&o.entrypoint, "entrypoint", "program and first `arguments`, one each; repeatable")
	fs.Var(&o.cmd, "cmd", "`arguments` that a container may replace, one each; repeatable")
	fs.Var(&o.env, "env", "`NAME=value` in the environment; repeatable")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			fs.SetOutput(out)
			fs.PrintDefaults()
		}
		return o, err
	}
	return o, o.check(fs.Args())
}

func (o *options) check(rest []string) error {
	var errs []error
	for _, name := range []struct{ flag, value string }{{"-o", o.out}, {"-tag", o.tag}} {
		if name.value == "" {
			errs = append(errs, fmt.Errorf("%s: is required", name.flag))
		}
	}
	if len(rest) == 0 {
		errs = append(errs, errors.New("no file is given, want FROM=/TO"))
	}
	for _, arg := range rest {
		from, to, _ := strings.Cut(arg, "=")
		if from == "" || !path.IsAbs(to) || path.Clean(to) != to {
			errs = append(errs, fmt.Errorf("%q: want FROM=/TO, with a clean absolute path in the image", arg))
		}
		o.files = append(o.files, file{from, to})
	}
	return errors.Join(errs...)
}
