package demo

import (
	"os/exec"
	"testing"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// untilTerminated starts a process that says on stdout that it runs, and exits with this status on SIGTERM.
func untilTerminated(t *testing.T, status string) *fleet.Proc {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	ready := make(chan string, 1)
	p, err := fleet.Start([]string{"sh", "-c", "trap 'exit " + status + "' TERM; echo ready; while :; do sleep 0.01; done"}, nil,
		func(line string) { ready <- line }, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	<-ready
	return p
}

// A pod with a sidecar has ended once both processes have, and failed if one of them has.
func TestPodEnds(t *testing.T) {
	for _, tc := range []struct {
		sidecar, behind string
		want            int
	}{{"0", "0", 0}, {"3", "0", 3}, {"0", "4", 4}} {
		p := &pod{Server: &fleet.Server{Proc: untilTerminated(t, tc.sidecar)}, behind: untilTerminated(t, tc.behind)}
		if p.Exited() {
			t.Error("a pod that runs counts as ended")
		}
		p.Terminate()
		p.wait()
		if got := p.ExitCode(); got != tc.want || !p.Exited() {
			t.Errorf("%v: got status %d", tc, got)
		}
	}
}

// The server behind the sidecar serves until the sidecar has drained all clients.
func TestSidecarEndsFirst(t *testing.T) {
	behind := untilTerminated(t, "0")
	p := &pod{Server: &fleet.Server{Proc: untilTerminated(t, "0")}, behind: behind}
	ended := make(chan bool, 1)
	go func() {
		<-behind.Done()
		ended <- p.Server.Exited()
	}()
	p.Terminate()
	if !<-ended {
		t.Error("the server ended before the sidecar")
	}
}
