package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/test/conformance/tracker"
)

// breakEnv is set by -break.
const breakEnv = tracker.BreakEnv

// defaultPackages are those of grpc-go that exercise a server's connections most. The others
// that have a server test balancers and xDS clients (-all).
func defaultPackages() []string {
	return []string{
		".", "./authz", "./balancer/grpclb", "./credentials/alts", "./internal/transport", "./orca",
		"./reflection/test", "./stats/opentelemetry", "./test", "./test/xds", "./xds",
	}
}

// whitebox are tests that cannot pass on a tracked server, because they look inside of the
// transport. Each has the reason.
var whitebox = map[testID]string{
	{grpcModule + "/internal/transport", "Test/TCPUserTimeout"}: "it wants the transport's own connection to be a *net.TCPConn",
}

const (
	// mostFlaky is how many tests can differ by chance; more are not repeated.
	mostFlaky   = 25
	suitesBound = 30 * time.Minute
	allBound    = 90 * time.Minute
)

// suites runs grpc-go's own tests on bare and on tracked servers.
func suites(ctx context.Context, o *options) (bool, error) {
	bound := suitesBound
	if o.all {
		bound = allBound
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	t, err := o.grpcTree()
	if err != nil {
		return false, err
	}
	packages, err := t.addSetters(o.packages)
	if err != nil {
		return false, err
	}
	if len(packages) == 0 {
		return false, fmt.Errorf("no package of %v makes servers in its tests", o.packages)
	}
	both, err := t.both(ctx, append(o.runArgs(), packages...))
	if err != nil {
		return false, err
	}
	connections, err := t.connections()
	if err != nil {
		return false, err
	}
	c := &comparison{both: both, connections: connections, all: o.all}
	if err := c.repeatAll(ctx, t, o.repeats); err != nil {
		return false, err
	}
	return c.print(o.out), nil
}

// repeatAll repeats the tests that differ. Many do not differ by chance.
func (c *comparison) repeatAll(ctx context.Context, t *tree, times int) error {
	suspects := c.suspects()
	if len(suspects) > mostFlaky {
		return nil
	}
	for _, id := range suspects {
		if _, ok := whitebox[id]; ok {
			continue
		}
		if err := c.repeat(ctx, t, id, times); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) runArgs() []string {
	if o.run == "" {
		return nil
	}
	return []string{"-run=" + o.run}
}

// servers are words in test files that make servers.
var servers = regexp.MustCompile(`\b(NewServer|NewGRPCServer|NewServerTransport|StartServer|StartTestService|stubserver)\b`)

// addSetters adds a test file that sets the hook to each of the packages that makes servers
// in its tests, and writes the overlay. It returns these packages.
func (t *tree) addSetters(packages []string) ([]string, error) {
	args := append([]string{"list", "-mod=mod", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}} {{.Name}} {{.ImportPath}}{{end}}"}, packages...)
	out, err := output(t.dir, args...)
	if err != nil {
		return nil, err
	}
	var chosen []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && hasServers(f[0]) {
			t.files[filepath.Join(f[0], "evenkeel_conformance_test.go")] = fmt.Sprintf(setter, f[1]+"_test", thisModule)
			chosen = append(chosen, f[2])
		}
	}
	return chosen, t.prepare()
}

// hasServers reports whether the tests in a folder make servers, as far as their words show.
func hasServers(dir string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && servers.Match(text)
	})
}

// both runs the same tests on bare and on tracked servers, at the same time.
func (t *tree) both(ctx context.Context, args []string) (map[serverKind]*outcomes, error) {
	var wg sync.WaitGroup
	var got [2]*outcomes
	var errs [2]error
	kinds := []serverKind{bare, tracked}
	for i, kind := range kinds {
		wg.Go(func() { got[i], errs[i] = t.test(ctx, kind, args...) })
	}
	wg.Wait()
	both := make(map[serverKind]*outcomes)
	for i, kind := range kinds {
		if errs[i] != nil {
			return nil, errs[i]
		}
		both[kind] = got[i]
	}
	return both, nil
}

// repeat runs one test alone, bare and tracked, until it passes tracked.
func (c *comparison) repeat(ctx context.Context, t *tree, id testID, times int) error {
	top := id.top()
	args := []string{"./" + strings.TrimPrefix(strings.TrimPrefix(top.pkg, grpcModule), "/")}
	if top.name != "" {
		args = append(args, "-run=^"+strings.ReplaceAll(regexp.QuoteMeta(top.name), "/", "$/^")+"$")
	}
	for range times {
		again, err := t.both(ctx, slices.Clone(args))
		if err != nil {
			return err
		}
		c.note(id, again)
		if c.settled(id) {
			break
		}
	}
	return nil
}
