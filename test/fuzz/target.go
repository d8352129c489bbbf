package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// target is one fuzz target.
type target struct {
	module    string // folder of its module
	pkg, name string
	dir       string // of its package
}

// find returns the targets that `go test -list` finds in the modules.
func find(ctx context.Context, o *options) (all []target, err error) {
	for _, module := range o.modules {
		dirs, err := packages(ctx, module)
		if err != nil {
			return nil, err
		}
		out, err := output(ctx, module, "test", "-json", "-list", "^Fuzz", "./...")
		if err != nil {
			return nil, err
		}
		for _, t := range listed(out) {
			t.module, t.dir = module, dirs[t.pkg]
			if o.only.MatchString(t.pkg + "." + t.name) {
				all = append(all, t)
			}
		}
	}
	return all, nil
}

// packages returns the folder of each package of the module.
func packages(ctx context.Context, module string) (map[string]string, error) {
	out, err := output(ctx, module, "list", "-json=ImportPath,Dir", "./...")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string `json:"ImportPath"`
			Dir        string `json:"Dir"`
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return dirs, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list in %s: %w", module, err)
		}
		dirs[p.ImportPath] = p.Dir
	}
}

// listed reads the output of `go test -json -list`, in which each name is a line of output
// of its package.
func listed(out []byte) (all []target) {
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var ev struct {
			Action  string `json:"Action"`
			Package string `json:"Package"`
			Output  string `json:"Output"`
		}
		if json.Unmarshal(lines.Bytes(), &ev) != nil || ev.Action != "output" {
			continue
		}
		if name := strings.TrimSpace(ev.Output); strings.HasPrefix(name, "Fuzz") {
			all = append(all, target{pkg: ev.Package, name: name})
		}
	}
	return all
}

func output(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s in %s: %w\n%s%s", args[0], dir, err, out, stderr.Bytes())
	}
	return out, nil
}

// result is what a run of a target has shown.
type result struct {
	target
	execs, fresh, corpus int
	took                 time.Duration
	failed               string // what failed; empty if nothing did
	output               string
}

// stopWait is how long an interrupted target may take to stop.
const stopWait = 10 * time.Second

// run fuzzes the target for d.
func (t target) run(ctx context.Context, o *options, d time.Duration) result {
	args := []string{"test", "-run", "^$", "-fuzz", "^" + t.name + "$", "-fuzztime", d.String()}
	if o.parallel > 0 {
		args = append(args, "-parallel", strconv.Itoa(o.parallel))
	}
	args = append(args, t.pkg)
	if o.corpus != "" {
		// go test gives each package a folder of its cache. The later flag wins.
		args = append(args, "-args", "-test.fuzzcachedir="+filepath.Join(o.corpus, filepath.FromSlash(t.pkg)))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = t.module
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWait
	began := time.Now()
	out, err := cmd.CombinedOutput()
	r := result{target: t, took: time.Since(began), output: string(out)}
	r.read(err)
	if ctx.Err() != nil && !strings.HasPrefix(r.failed, t.dir) {
		r.failed = "" // it was interrupted
	}
	return r
}
