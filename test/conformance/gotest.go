package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// serverKind is a kind of server to compare.
type serverKind string

const (
	bare    serverKind = "bare"
	tracked serverKind = "tracked"
	// behind is a bare server behind the sidecar.
	behind serverKind = "sidecar"
	// behindDrained is one behind a sidecar that drains connections all the time.
	behindDrained serverKind = "draining sidecar"
	// bareWeb is a server of net/http, and web is one whose connections are tracked. Both pass
	// gRPC on to ServeHTTP.
	bareWeb serverKind = "bare net/http"
	web     serverKind = "tracked net/http"
)

// bareOf returns the bare kind that another kind is compared with.
func bareOf(kind serverKind) serverKind {
	if kind == web {
		return bareWeb
	}
	return bare
}

// testID names a test. The name is empty for what fails outside of any test.
type testID struct{ pkg, name string }

func (id testID) String() string {
	if id.name == "" {
		return id.pkg + " (the package as a whole)"
	}
	return id.pkg + " " + id.name
}

// top is the test that can be run alone: grpc-go's are all below one test named Test.
func (id testID) top() testID {
	names := strings.Split(id.name, "/")
	return testID{id.pkg, strings.Join(names[:min(len(names), 2)], "/")}
}

// outcomes are the actions of `go test -json` that end a test: pass, fail or skip.
type outcomes struct {
	tests map[testID]string
	// output is the end of what each test has printed.
	output map[testID][]string
	// seconds is how long each package ran.
	seconds map[string]float64
}

const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// outputLines is how much of a test's output is kept: one that fails says why at its end.
const outputLines = 20

// event is a line of `go test -json`.
type event struct {
	Action      string  `json:"Action"`
	Package     string  `json:"Package"`
	Test        string  `json:"Test"`
	Output      string  `json:"Output"`
	FailedBuild string  `json:"FailedBuild"`
	Elapsed     float64 `json:"Elapsed"`
}

// readEvents reads the output of `go test -json`. Only a build that fails is an error.
func readEvents(r io.Reader) (*outcomes, error) {
	o := &outcomes{tests: map[testID]string{}, output: map[testID][]string{}, seconds: map[string]float64{}}
	var build strings.Builder
	dec := json.NewDecoder(r)
	for {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if e.Action == "build-output" {
			build.WriteString(e.Output)
		}
		if e.FailedBuild != "" {
			return nil, fmt.Errorf("the build of %s failed:\n%s", e.FailedBuild, build.String())
		}
		o.add(&e)
	}
	o.settle()
	return o, nil
}

func (o *outcomes) add(e *event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "run":
		o.tests[id] = failed // until it ends: a panic or a timeout ends it without an event
	case "output":
		if strings.Contains(e.Output, " tlogger.go:") {
			return // the log of grpc-go itself
		}
		o.output[id] = append(o.output[id][max(0, len(o.output[id])-outputLines):], e.Output)
	case passed, failed, skipped:
		o.tests[id] = e.Action
		if e.Test == "" {
			o.seconds[e.Package] = e.Elapsed
		}
	}
}

// settle leaves the tests that have none below them, and what fails although nothing below
// it does.
func (o *outcomes) settle() {
	parents, explained := map[testID]bool{}, map[testID]bool{}
	for id, outcome := range o.tests {
		for name := id.name; name != ""; {
			name = name[:max(strings.LastIndex(name, "/"), 0)]
			parents[testID{id.pkg, name}] = true
			if outcome == failed {
				explained[testID{id.pkg, name}] = true
			}
		}
	}
	for id, outcome := range o.tests {
		if (parents[id] || id.name == "") && (outcome != failed || explained[id]) {
			delete(o.tests, id)
		}
	}
}

// count returns how many tests of a package have an outcome.
func (o *outcomes) count(pkg, outcome string) int {
	n := 0
	for id, got := range o.tests {
		if id.pkg == pkg && got == outcome {
			n++
		}
	}
	return n
}

// packages are those that ran.
func (o *outcomes) packages() []string {
	var all []string
	for pkg := range o.seconds {
		all = append(all, pkg)
	}
	slices.Sort(all)
	return all
}

// test runs tests of the tree.
func (t *tree) test(ctx context.Context, kind serverKind, args ...string) (*outcomes, error) {
	args = append(append(t.goArgs("test", kind), "-json", "-vet=off", "-count=1", "-timeout=8m"), args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = t.dir, t.environ()
	log, err := os.Create(filepath.Join(t.overlay, string(kind)+".json"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = log, &stderr, waitDelay
	runErr := cmd.Run()
	if _, err := log.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	got, err := readEvents(log)
	if err == nil && len(got.seconds) == 0 {
		err = fmt.Errorf("no test has run: %w", runErr)
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return got, nil
}
