package fleet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Proc is a process that Start has started.
type Proc struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // from Wait; valid once done is closed
}

// Start runs argv with env added to this process's environment. It calls stdout and
// stderr, which may be nil, with each line that the process writes, from one goroutine
// each.
func Start(argv, env []string, stdout, stderr func(line string)) (*Proc, error) {
	if len(argv) == 0 {
		return nil, errors.New("fleet: no command")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = ownGroup()
	outPipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errPipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	p := &Proc{cmd: cmd, done: make(chan struct{})}
	var lines sync.WaitGroup
	lines.Go(func() { eachLine(outPipe, stdout) })
	lines.Go(func() { eachLine(errPipe, stderr) })
	go func() {
		defer close(p.done)
		// Wait closes the pipes, so everything must have been read before.
		lines.Wait()
		p.err = cmd.Wait()
	}()
	return p, nil
}

func eachLine(r io.Reader, f func(string)) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if f != nil {
			f(s.Text())
		}
	}
	// An overlong line ends the scan, but must not block the process.
	_, _ = io.Copy(io.Discard, r)
}

// PID returns its process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed once the process has ended and all of its
// output has been read.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Exited reports whether the process has ended.
func (p *Proc) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ExitCode waits for the process to end and returns its exit status, or -1 if a signal
// ended it.
func (p *Proc) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Terminate sends SIGTERM. It does not wait.
func (p *Proc) Terminate() { p.signal(syscall.SIGTERM) }

// Kill sends SIGKILL. It does not wait.
func (p *Proc) Kill() { p.signal(syscall.SIGKILL) }

// signal does nothing to a process that has ended. os.Process sees to that, since the
// id may belong to another process by then.
func (p *Proc) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Stop sends SIGTERM and waits for the process to end; after timeout it sends SIGKILL.
func (p *Proc) Stop(timeout time.Duration) {
	p.Terminate()
	select {
	case <-p.done:
	case <-time.After(timeout):
		p.Kill()
		<-p.done
	}
}
