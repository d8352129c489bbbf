package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// newestBound limits the run with the newest grpc-go.
const newestBound = 40 * time.Minute

// runNewest runs the same parts with the newest grpc-go that the module proxy has: its main
// branch, or else its newest version, pre-releases included. What differs there is a
// warning: a release may still change. But it shows early that grpc-go has changed what
// evenkeel finds by an internal interface (ReadOnReady).
func runNewest(ctx context.Context, o *options) error {
	ctx, cancel := context.WithTimeout(ctx, newestBound)
	defer cancel()
	dir := filepath.Join(o.root, "test", "conformance")
	version, err := newestVersion(dir)
	if err != nil {
		return err
	}
	modfile := filepath.Join(o.tmp, "newest.mod")
	if err := writeModfile(modfile, dir); err != nil {
		return err
	}
	if _, err := output(dir, "get", "-modfile="+modfile, grpcModule+"@"+version); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "-modfile="+modfile, ".", "-parts="+strings.Join(o.parts, ","))
	cmd.Args = append(cmd.Args, "-packages="+strings.Join(o.packages, ","), "-drained="+o.drained.String())
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, environ(), o.out, o.out, waitDelay
	if err := cmd.Run(); err != nil {
		o.printf("\nWARNING: with grpc-go %s a tracked server differs from a bare one, or the comparison failed: %v\n", version, err)
	}
	return nil
}

// newestVersion asks the module proxy.
func newestVersion(dir string) (string, error) {
	var main, released struct {
		Version  string   `json:"Version"`
		Versions []string `json:"Versions"`
	}
	if out, err := output(dir, "list", "-m", "-json", grpcModule+"@master"); err == nil {
		err := json.Unmarshal(out, &main)
		return main.Version, err
	}
	out, err := output(dir, "list", "-m", "-versions", "-json", grpcModule)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(out, &released); err != nil {
		return "", err
	}
	if len(released.Versions) == 0 {
		return "", errors.New("the module proxy lists no version of " + grpcModule)
	}
	return released.Versions[len(released.Versions)-1], nil
}

// writeModfile copies this module's go.mod and go.sum. The go command resolves its replace
// directives relative to the module, not to the copy.
func writeModfile(to, dir string) error {
	for from, name := range map[string]string{"go.mod": to, "go.sum": strings.TrimSuffix(to, ".mod") + ".sum"} {
		text, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
