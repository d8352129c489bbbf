package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	connectModule  = "connectrpc.com/conformance"
	connectVersion = "v1.0.7"
	connectBound   = 5 * time.Minute
)

// connectServer is one of connect's own servers.
type connectServer struct {
	name string
	dir  string
	conf string // a file of what to test
	// known is a file of what is known to fail.
	known string
}

var connectServers = []connectServer{
	{"grpc-go", "cmd/grpcserver", "testing/grpc-impls-config.yaml", "testing/grpcserver-known-failing.txt"},
	{"connect-go", goServer, webConfFile, "testing/referenceserver-known-failing.txt"},
}

// connect runs connect's conformance runner against connect's own servers, bare and tracked.
func connect(ctx context.Context, o *options) (bool, error) {
	t, err := o.connectTree()
	if err != nil {
		return false, err
	}
	runner, err := t.build("./cmd/connectconformance", bare)
	if err != nil {
		return false, err
	}
	good, sum := true, uint64(0)
	for _, s := range connectServers {
		same, err := t.compareConnect(ctx, o, runner, s)
		if err != nil {
			return false, err
		}
		connections, err := t.connections()
		if err != nil {
			return false, err
		}
		before := sum
		sum = 0
		for _, n := range connections {
			sum += n
		}
		o.printf("%-10s  %d connections tracked\n", s.name, sum-before)
		good = good && same && sum > before
	}
	return good, nil
}

// compareConnect reports whether a server comes to the same bare and tracked.
func (t *tree) compareConnect(ctx context.Context, o *options, runner string, s connectServer) (bool, error) {
	results := make(map[serverKind]string)
	for _, kind := range []serverKind{bare, tracked} {
		server, err := t.build("./"+s.dir, kind)
		if err != nil {
			return false, err
		}
		if results[kind], err = t.runConnect(ctx, runner, server, s); err != nil {
			return false, err
		}
		o.printf("%-10s  %-9s  %s\n", s.name, kind, strings.ReplaceAll(strings.TrimSpace(results[kind]), "\n", "; "))
	}
	return results[bare] == results[tracked], nil
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
	t.files[filepath.Join(t.dir, connectServers[0].dir, "evenkeel_conformance.go")] = fmt.Sprintf(setter, "main", thisModule)
	files, err := webHooks(t.dir)
	if err != nil {
		return nil, err
	}
	maps.Copy(t.files, files)
	if err := os.WriteFile(filepath.Join(t.dir, webConfFile), []byte(webConf), 0o644); err != nil {
		return nil, err
	}
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

// runConnect runs the runner, with lists of what to test and of what is known to fail, and
// returns what it sums up.
func (t *tree) runConnect(ctx context.Context, runner, server string, s connectServer) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, connectBound)
	defer cancel()
	cmd := exec.CommandContext(ctx, runner, "--mode=server", "--conf="+s.conf, "--known-failing=@"+s.known, "--", server)
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
