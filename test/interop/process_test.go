//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that prints one line when it is ready or done. Some programs exit when
// their standard input ends.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
	log   lockedBuffer
	done  chan struct{}
	err   error
}

// lockedBuffer keeps the output of a process, for the log of a failed test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func start(t *testing.T, argv, env []string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan string, 16), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.log
	// The process must not outlive this test, however it ends.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.follow(stdout)
	t.Cleanup(func() { p.kill(t, argv) })
	return p
}

// follow passes on the lines and waits for the process to exit.
func (p *process) follow(stdout io.Reader) {
	in := bufio.NewScanner(stdout)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		p.lines <- in.Text()
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	close(p.done)
}

func (p *process) kill(t *testing.T, argv []string) {
	select {
	case <-p.done:
	default:
		p.cmd.Process.Kill()
		for range p.lines {
			// Read to the end, so that follow can call Wait.
		}
		<-p.done
	}
	if t.Failed() && p.log.String() != "" {
		t.Logf("%s printed:\n%s", argv[0], p.log.String())
	}
}

// line waits for the next line.
func (p *process) line(t *testing.T, limit time.Duration) string {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case line, ok := <-p.lines:
		if !ok {
			<-p.done
			t.Fatalf("%s exited without printing a line: %v\n%s", p.cmd.Path, p.err, p.log.String())
		}
		return line
	case <-timer.C:
		t.Fatalf("%s printed nothing within %v\n%s", p.cmd.Path, limit, p.log.String())
	}
	return ""
}

// exit waits for the process to exit with status 0.
func (p *process) exit(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("%s: %v\n%s", p.cmd.Path, p.err, p.log.String())
		}
	case <-timer.C:
		t.Errorf("%s did not exit within 30 s", p.cmd.Path)
	}
}

// client is a process that takes our arguments.
type client struct{ *process }

func startClient(t *testing.T, argv, args, load []string) *client {
	env := append([]string{
		"HELLO_PROTO=" + helloProto, "HELLO_DESCRIPTOR=" + built("hello.binpb"),
		"PYTHONPATH=" + built("python"), "RUBYLIB=" + built("ruby"),
	}, load...)
	return &client{start(t, append(append([]string{}, argv...), args...), env)}
}

// result waits until the calls are over. The limit only ends a hanging test; each call has its
// own deadline of 10 s.
func (c *client) result(t *testing.T, calling time.Duration) result {
	t.Helper()
	var r result
	decodeLine(t, c.line(t, calling+45*time.Second), &r)
	return r
}

// end makes the client exit.
func (c *client) end(t *testing.T) {
	t.Helper()
	c.stdin.Close()
	c.exit(t)
}
