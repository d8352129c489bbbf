package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// row is a client of the interop tests, as the compiled tests list it.
type row struct {
	Name string `json:"name"`
	// Why is the reason why calls of this row may fail; empty if none may.
	Why string `json:"why"`
	// Alone is set if no other row may run at the same time.
	Alone bool `json:"alone"`
}

// slice is what a row did in one slice, as the compiled tests report it.
type slice struct {
	Version string         `json:"version"`
	Calls   int            `json:"calls"`
	Failed  int            `json:"failed"`
	Errors  map[string]int `json:"errors"`
	GoAways int            `json:"goaways"`
	// Broken says which limits the row broke; empty if it broke none.
	Broken string `json:"-"`
}

// program is the compiled interop tests. Each slice is a process of its own, so that a slice that
// panics or hangs ends neither the soak nor another slice.
type program struct {
	path string
	// dir is a folder for temporary files. It is ours, because a slice that is killed leaves some.
	dir string
}

func newProgram(path string) (*program, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// The name is short, because the paths of Unix sockets must be.
	dir, err := os.MkdirTemp("", "soak")
	return &program{path: path, dir: dir}, err
}

func (p *program) close() { _ = os.RemoveAll(p.dir) }

func (p *program) rows(ctx context.Context) (all []row, err error) {
	out, err := p.run(ctx, &all, time.Minute)
	if err != nil {
		return nil, fmt.Errorf("%s does not list its rows: %w\n%s", p.path, err, out)
	}
	return all, nil
}

// overhead is far more than a row needs besides its calls: to start, to check and to stop.
const overhead = 4 * time.Minute

func (p *program) slice(ctx context.Context, r row, length time.Duration) (s slice) {
	seconds := strconv.Itoa(int(length / time.Second))
	out, err := p.run(ctx, &s, length+overhead, "INTEROP_ROW="+r.Name, "INTEROP_SECONDS="+seconds)
	if err != nil {
		s.Broken = complaints(out, err)
	}
	return s
}

// run runs the tests with variables and reads their report. When ctx is done, it kills them and
// all that they have started.
func (p *program) run(ctx context.Context, report any, limit time.Duration, env ...string) (out []byte, err error) {
	f, err := os.CreateTemp(p.dir, "report")
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	defer os.Remove(f.Name())
	cmd := exec.CommandContext(ctx, p.path, "-test.run", "^TestSlice$", "-test.timeout", limit.String())
	cmd.Env = append(append(os.Environ(), "INTEROP_REPORT="+f.Name(), "TMPDIR="+p.dir), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that Ctrl-C reaches the soak alone
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err = cmd.CombinedOutput()
	b, readErr := os.ReadFile(f.Name())
	if readErr == nil && len(b) > 0 {
		readErr = json.Unmarshal(b, report)
	}
	if err == nil {
		err = readErr
	}
	return out, err
}

// complaint matches what a test says, behind the line of the file that says it.
var complaint = regexp.MustCompile(`(?m)^ +\w+_test\.go:\d+: (.*)$`)

// complaints returns what the failed tests said, in one line. Tests that said nothing have
// crashed, so it returns the end of their output.
func complaints(out []byte, err error) string {
	var all []string
	for _, m := range complaint.FindAllSubmatch(out, -1) {
		if text := string(m[1]); !strings.HasSuffix(text, " printed:") { // a log follows
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		return shortened(fmt.Sprintf("%v: %s", err, out))
	}
	return shortened(strings.Join(all, "; "))
}

// maxText is the length of a complaint that is kept.
const maxText = 600

// shortened returns the text in one line, without the path of this folder.
func shortened(text string) string {
	if dir, err := os.Getwd(); err == nil {
		text = strings.ReplaceAll(text, dir+"/", "")
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return strings.ToValidUTF8(text, "")
}

// commitID names the commit of the source code, with a mark if files differ from it.
func commitID(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty").Output()
	if err != nil {
		return "unknown" // no git checkout
	}
	return strings.TrimSpace(string(out))
}
