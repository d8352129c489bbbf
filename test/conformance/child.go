package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// childEnv makes this program run as a client. h2spec and grpc's interop client end their
// process at the first surprise, so each runs in one of its own.
const childEnv = "EVENKEEL_CONFORMANCE_CHILD"

// children are the clients. Each returns what is sent to the parent.
var children = map[string]func(args []string) (any, error){
	"h2spec":  h2specChild,
	"interop": interopChild,
}

// runChild prints the results of a client as JSON on stdout. What the client itself prints
// on stdout is dropped.
func runChild(name string, args []string) {
	stdout := os.Stdout
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err == nil {
		os.Stdout = null
		var result any
		if result, err = children[name](args); err == nil {
			err = json.NewEncoder(stdout).Encode(result)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// errChild is returned if a client fails.
var errChild = errors.New("the client failed")

// tail is the end of what a program printed.
func tail(text string) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-outputLines):], "")
}

// client runs this program as a client and returns what it sent.
func client[T any](ctx context.Context, name string, args ...string) (T, error) {
	var result T
	self, err := os.Executable()
	if err != nil {
		return result, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env, cmd.WaitDelay = environ(childEnv+"="+name), waitDelay
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return result, fmt.Errorf("%w: %s %s: %w\n%s", errChild, name, strings.Join(args, " "), err, tail(stderr.String()))
	}
	return result, json.Unmarshal(stdout.Bytes(), &result)
}
