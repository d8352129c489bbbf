package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	connectModule  = "connectrpc.com/conformance"
	connectVersion = "v1.0.7"
	connectBound   = 3 * time.Minute
	// connectServer is the folder of connect's server that is made with grpc-go.
	connectServer = "cmd/grpcserver"
)

// connect runs connect's conformance runner against connect's own grpc-go server, bare and tracked.
func connect(ctx context.Context, o *options) (bool, error) {
	t, err := o.connectTree()
	if err != nil {
		return false, err
	}
	runner, err := t.build("./cmd/connectconformance", bare)
	if err != nil {
		return false, err
	}
	results := make(map[serverKind]string)
	for _, kind := range []serverKind{bare, tracked} {
		server, err := t.build("./"+connectServer, kind)
		if err != nil {
			return false, err
		}
		if results[kind], err = t.runConnect(ctx, runner, server); err != nil {
			return false, err
		}
		o.printf("%-9s  %s\n", kind, strings.ReplaceAll(strings.TrimSpace(results[kind]), "\n", "; "))
	}
	connections, err := t.connections()
	if err != nil {
		return false, err
	}
	sum := uint64(0)
	for _, n := range connections {
		sum += n
	}
	o.printf("%d connections tracked\n", sum)
	return sum > 0 && results[bare] == results[tracked], nil
}

// connectTree copies connect's conformance tests, which use the copy of grpc-go.
func (o *options) connectTree() (*tree, error) {
	g, err := o.grpcTree()
	if err != nil {
		return nil, err
	}
	replaced := o.own()
	replaced[grpcModule] = g.dir
	t, err := newTree(o.tmp, connectModule, connectVersion, replaced)
	if err != nil {
		return nil, err
	}
	t.files = g.files
	t.files[filepath.Join(t.dir, connectServer, "evenkeel_conformance.go")] = fmt.Sprintf(setter, "main", thisModule)
	return t, t.prepare()
}

// build builds a program of the tree and returns its path.
func (t *tree) build(pkg string, kind serverKind) (string, error) {
	bin := filepath.Join(t.overlay, string(kind)+"-"+filepath.Base(pkg))
	_, err := output(t.dir, append(t.goArgs("build", kind), "-o", bin, pkg)...)
	return bin, err
}

// counted are the lines in which the runner sums up.
var counted = regexp.MustCompile(`(?m)^(Total cases: .*|\d+ passed.*|FAILED: .*)$`)

// runConnect runs the runner, with connect's own lists of what to test and of what is known
// to fail, and returns what it sums up.
func (t *tree) runConnect(ctx context.Context, runner, server string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, connectBound)
	defer cancel()
	cmd := exec.CommandContext(ctx, runner, "--mode=server", "--conf=testing/grpc-impls-config.yaml",
		"--known-failing=@testing/grpcserver-known-failing.txt", "--", server)
	cmd.Dir, cmd.Env, cmd.WaitDelay = t.dir, t.environ(), waitDelay
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return "", errors.Join(err, ctx.Err())
	}
	lines := counted.FindAllString(string(out), -1)
	if len(lines) == 0 {
		return "", fmt.Errorf("%s: %w\n%s", runner, err, tail(string(out)))
	}
	return strings.Join(lines, "\n"), nil
}
