package main

import (
	"context"
	"fmt"
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
	if err := t.addSetters(o.packages); err != nil {
		return false, err
	}
	both, err := t.both(ctx, append(o.runArgs(), o.packages...))
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

// addSetters adds a test file that sets the hook to each package, and writes the overlay.
func (t *tree) addSetters(packages []string) error {
	args := append([]string{"list", "-mod=mod", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}} {{.Name}}{{end}}"}, packages...)
	out, err := output(t.dir, args...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		dir, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		t.files[filepath.Join(dir, "evenkeel_conformance_test.go")] = fmt.Sprintf(setter, name+"_test", thisModule)
	}
	return t.prepare()
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
