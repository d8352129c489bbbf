// Command conformance compares tracked servers with bare ones in the test suites of others:
//
//	suites   grpc-go's own test packages, with every server's connections tracked
//	h2spec   the cases of HTTP/2 and HPACK, plaintext and TLS
//	connect  connect's conformance runner against its own servers, of grpc-go and of connect-go
//	interop  grpc's interop test cases, while all connections are drained every 200 ms
//	web      h2spec on a server of net/http, and interop through its ServeHTTP
//	sidecar  h2spec and interop on a bare server behind evenkeel-sidecar
//	idle     grpc-go holds no read buffer for a tracked idle connection
//
// Nothing of others is in this repository. Their modules come from the module proxy. The
// sources that run tracked are copied to .tmp, and a build overlay (go help build) puts
// evenkeel under their servers.
//
//	go run . -parts suites -packages ./orca -run 'Test/E2E'   some tests of one package
//	go run . -newest                                          with the newest grpc-go there is
//	go run . -break drop-byte                                 a broken tracker: must exit with 1
//
// It exits with status 1 if a tracked server does not do as the bare one does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// options are the flags, and what follows from them.
type options struct {
	parts    []string
	packages []string
	run      string
	all      bool
	newest   bool
	repeats  int
	drained  time.Duration
	broken   string
	root     string // of this repository
	tmp      string

	mu  sync.Mutex
	out io.Writer
}

// part is one comparison. It reports whether the tracked servers did as the bare ones.
type part struct {
	name string
	do   func(context.Context, *options) (bool, error)
}

func parts() []part {
	return []part{{"idle", idle}, {"h2spec", h2spec}, {"interop", interops}, {"web", webs}, {"sidecar", sidecar}, {"connect", connect}, {"suites", suites}}
}

func main() {
	if child := os.Getenv(childEnv); child != "" {
		runChild(child, os.Args[1:])
		return
	}
	ok, err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("conformance", flag.ContinueOnError)
	f.SetOutput(stderr)
	names := make([]string, 0, len(parts()))
	for _, p := range parts() {
		names = append(names, p.name)
	}
	chosen := f.String("parts", strings.Join(names, ","), "what to run")
	packages := f.String("packages", strings.Join(defaultPackages(), ","), "packages of grpc-go whose tests to run")
	f.BoolVar(&o.all, "all", false, "run the tests of all packages of grpc-go")
	f.StringVar(&o.run, "run", "", "run only the tests that match this regular expression, as go test does")
	f.BoolVar(&o.newest, "newest", false, "run with the newest grpc-go, pre-releases included; differences are warnings")
	f.IntVar(&o.repeats, "repeats", 4, "how often to repeat a test that differs")
	f.DurationVar(&o.drained, "drained", 30*time.Second, "how long to run the interop test cases under drains")
	f.StringVar(&o.broken, "break", "", "break the tracking in this way: drop-byte, drop-early-byte, no-auth-info or untracked")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.parts, o.packages = strings.Split(*chosen, ","), strings.Split(*packages, ",")
	if o.all {
		o.packages = []string{"./..."}
	}
	for _, name := range o.parts {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("-parts: %q is none of %s", name, strings.Join(names, ", "))
		}
	}
	return o, nil
}

// place finds this repository and its .tmp, which git ignores.
func (o *options) place() error {
	out, err := output("", "list", "-m", "-f", "{{.Dir}}", rootModule)
	if err != nil {
		return err
	}
	o.root = strings.TrimSpace(string(out))
	o.tmp = filepath.Join(o.root, ".tmp", "conformance")
	return os.MkdirAll(o.tmp, 0o755)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (ok bool, err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return false, err
	}
	o.out = stdout
	if err := o.place(); err != nil {
		return false, err
	}
	if o.newest {
		return true, runNewest(ctx, o)
	}
	if err := os.Setenv(breakEnv, o.broken); err != nil {
		return false, err
	}
	version, err := grpcVersion()
	if err != nil {
		return false, err
	}
	o.printf("grpc-go %s, bare and tracked\n", version)
	return runParts(ctx, o)
}

func runParts(ctx context.Context, o *options) (bool, error) {
	var failed []string
	for _, p := range parts() {
		if !slices.Contains(o.parts, p.name) {
			continue
		}
		begun := time.Now()
		o.printf("\n--- %s\n", p.name)
		good, err := p.do(ctx, o)
		if err != nil {
			return false, fmt.Errorf("%s: %w", p.name, err)
		}
		if !good {
			failed = append(failed, p.name)
		}
		o.printf("%s: %s, %.0f s\n", p.name, verdict(good), time.Since(begun).Seconds())
	}
	o.printf("\n%s\n", summary(failed))
	return len(failed) == 0, nil
}

func summary(failed []string) string {
	if len(failed) == 0 {
		return "ok: tracked servers do as bare ones"
	}
	return "FAIL: tracked servers differ from bare ones in " + strings.Join(failed, ", ")
}

func verdict(good bool) string {
	if good {
		return "ok"
	}
	return "FAIL"
}

func (o *options) printf(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.out, format, args...)
}
