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

// Proc is one process that was started here.
type Proc struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; read it after done
}

// Start starts argv with env on top of this process's environment. Each line that
// it writes goes to stdout or stderr, from one goroutine each; nil: nowhere.
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
		// Wait closes the pipes: not before all has been read.
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
	// A line too long ends the scan, but must not block the process.
	_, _ = io.Copy(io.Discard, r)
}

// PID is its process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Done is closed once it has ended and all it wrote was read.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Exited reports whether it has ended.
func (p *Proc) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ExitCode waits for the end and returns the exit status, -1 if a signal ended it.
func (p *Proc) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Terminate asks it to end (SIGTERM). It does not wait.
func (p *Proc) Terminate() { p.signal(syscall.SIGTERM) }

// Kill ends it at once (SIGKILL). It does not wait.
func (p *Proc) Kill() { p.signal(syscall.SIGKILL) }

// signal does nothing to a process that has ended: its id may be another's by now,
// and os.Process knows.
func (p *Proc) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Stop asks it to end, kills it after patience, and waits.
func (p *Proc) Stop(patience time.Duration) {
	p.Terminate()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
		<-p.done
	}
}
