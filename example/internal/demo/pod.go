package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// pod is a server process. With -via sidecar, it is a sidecar process and the server behind it.
type pod struct {
	*fleet.Server

	behind *fleet.Proc // nil without a sidecar
}

// podStop is how long the server behind a sidecar may take to end: it has no client left.
const podStop = 5 * time.Second

// Terminate sends SIGTERM as a cluster does. The server behind the sidecar gets it once the
// sidecar has drained all clients and ended.
func (p *pod) Terminate() {
	p.Server.Terminate()
	if p.behind == nil {
		return
	}
	go func() {
		<-p.Done()
		p.behind.Stop(podStop)
	}()
}

// Kill ends the whole pod with SIGKILL.
func (p *pod) Kill() {
	p.Server.Kill()
	if p.behind != nil {
		p.behind.Kill()
	}
}

// wait waits for all of the pod to end.
func (p *pod) wait() {
	<-p.Done()
	if p.behind != nil {
		<-p.behind.Done()
	}
}

// Exited reports whether all of the pod has ended.
func (p *pod) Exited() bool { return p.Server.Exited() && (p.behind == nil || p.behind.Exited()) }

// ExitCode waits for the pod to end, and returns the status of the process that failed; 0 if
// none did.
func (p *pod) ExitCode() int {
	if code := p.Server.ExitCode(); code != 0 || p.behind == nil {
		return code
	}
	return p.behind.ExitCode()
}

// startProcesses starts a pod and returns once it is ready.
func (c *column) startProcesses(ctx context.Context, number int) (*pod, error) {
	name, host := podName(number), c.host(number)
	spec := fleet.ServerSpec{
		Command:  append(slices.Clone(c.self), serveCommand),
		Name:     name,
		Host:     host,
		GRPCPort: c.ports.grpc,
		HTTPPort: c.ports.http,
		Args:     c.serverArgs(),
		Log: func(line string) {
			if c.o.logs != "" {
				c.logf("%s: %s", name, line)
			}
		},
	}
	p := &pod{}
	var err error
	if c.hasSidecar() {
		spec.Command, spec.GRPCFlag = []string{c.o.sidecarProgram}, "-listen"
		spec.Args = append(spec.Args, "-upstream", c.webOf(host))
		p.behind, err = fleet.Start(append(slices.Clone(c.self), plainCommand, c.webOf(host), name), nil, nil,
			func(line string) { c.logf("the server of %s: %s", name, line) })
	} else {
		spec.Args = append(spec.Args, "-gateway", c.webOf(host))
	}
	if err != nil {
		return nil, err
	}
	if p.Server, err = fleet.StartServer(ctx, spec); err != nil && p.behind != nil {
		p.behind.Stop(podStop)
	}
	return p, err
}

// hasSidecar reports whether the pods of this fleet have sidecars. Those of the alternatives
// have none.
func (c *column) hasSidecar() bool { return c.o.via == viaSidecar && c.id == withEvenkeel }

const sidecarPackage = "github.com/evenkeel-go/evenkeel/cmd/evenkeel-sidecar"

// buildSidecar builds the sidecar if a fleet needs it. It is a module of its own, so it is no
// part of this program.
func (t *timeline) buildSidecar(ctx context.Context) error {
	if !slices.ContainsFunc(t.columns, (*column).hasSidecar) {
		return nil
	}
	var err error
	if t.scratch, err = os.MkdirTemp("", "evenkeel-demo"); err != nil {
		return err
	}
	t.o.sidecarProgram = filepath.Join(t.scratch, "evenkeel-sidecar")
	t.board.setPhase("building the sidecar")
	t.board.logf("building the sidecar: go build cmd/evenkeel-sidecar; the first time takes a minute or more")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", t.o.sidecarProgram, sidecarPackage).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("cannot build the sidecar, -via %s needs the go command and this repository as the working directory: %w: %s",
			viaSidecar, err, strings.TrimSpace(string(out))), ctx.Err())
	}
	return nil
}
