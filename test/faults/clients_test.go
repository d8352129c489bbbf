//go:build interop && linux

package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// program is a client of ../interop, in a language that is not Go.
type program struct {
	name string
	argv []string
	// needs is the file that ../interop/run.sh makes for it.
	needs string
	// failing is what all its errors have in common, if the client may refuse calls by itself.
	failing string
}

func programs() []program {
	return []program{
		{name: "Python", argv: []string{"/usr/bin/python3", interop("clients", "python", "client.py")}, needs: built("python", "hello_pb2.py")},
		{name: "grpc-js", argv: []string{"node", built("node", "grpcjs.js")}, needs: built("node", "node_modules")},
		{
			name: "connect-node", argv: []string{"node", built("node", "connectnode.js")}, needs: built("node", "node_modules"),
			failing: "NGHTTP2_REFUSED_STREAM",
		},
	}
}

func interop(parts ...string) string {
	path, err := filepath.Abs(filepath.Join(append([]string{"..", "interop"}, parts...)...))
	if err != nil {
		panic(err) // no working directory
	}
	return path
}

func built(parts ...string) string { return interop(append([]string{".tmp"}, parts...)...) }

// process is a client that runs.
type process struct {
	program
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	log   bytes.Buffer
}

// startProgram starts a client, or returns nil if it is not built.
func (w *world) startProgram(t *testing.T, p program, seconds, workers int) *process {
	t.Helper()
	if _, err := os.Stat(p.needs); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not built: %v", p.name, err)
		}
		t.Logf("without %s, which ../interop/run.sh builds", p.name)
		return nil
	}
	c := &process{program: p, cmd: exec.Command(p.argv[0], append(p.argv[1:], strings.Join(w.addrs(), ","), "round_robin", strconv.Itoa(seconds))...)}
	c.cmd.Env = append(os.Environ(), "HELLO_PROTO="+interop("..", "..", "example", "proto", "hello", "v1", "hello.proto"),
		"HELLO_DESCRIPTOR="+built("hello.binpb"), "PYTHONPATH="+built("python"), "HELLO_WORKERS="+strconv.Itoa(workers))
	c.cmd.Stderr = &c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(stdout)
	if err := w.clients.Start(c.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	return c
}

// result waits until the calls are over. The client stays, idle, with its channel open.
func (c *process) result(t *testing.T) (r result) {
	t.Helper()
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		c.cmd.Process.Kill()
		c.cmd.Wait()
		t.Fatalf("%s printed no result: %v\n%s", c.name, err, &c.log)
	}
	r.Client = c.name
	return r
}

// end makes the client exit.
func (c *process) end() {
	c.stdin.Close()
	c.cmd.Wait()
}
