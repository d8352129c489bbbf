package fleet

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/caller"
	"github.com/evenkeel-go/evenkeel/example/internal/server"
)

// TestMain makes the test binary the programs that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "serve":
			os.Exit(server.Main(os.Args[2:], os.Stdout, os.Stderr))
		case "call":
			os.Exit(caller.Main(os.Args[2:], os.Stdout, os.Stderr))
		case "stubborn":
			stubborn()
		}
	}
	os.Exit(m.Run())
}

// stubborn prints a line to stdout and one to stderr, and ignores SIGTERM.
func stubborn() {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("alive")
	fmt.Fprintln(os.Stderr, "and complaining")
	select {}
}

func self(t *testing.T, command string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe, command}
}

func TestStopKillsProcessThatIgnoresSIGTERM(t *testing.T) {
	out, errs := make(chan string, 10), make(chan string, 10)
	p, err := Start(self(t, "stubborn"), nil, func(s string) { out <- s }, func(s string) { errs <- s })
	if err != nil {
		t.Fatal(err)
	}
	if line := <-out; line != "alive" {
		t.Errorf("got %q on stdout, want %q", line, "alive")
	}
	if line := <-errs; line != "and complaining" {
		t.Errorf("got %q on stderr, want %q", line, "and complaining")
	}
	if p.Exited() {
		t.Error("the process has exited before Stop")
	}
	p.Stop(time.Millisecond)
	if !p.Exited() || p.ExitCode() != -1 {
		t.Errorf("exited %v with status %d, want true and -1 (a signal)", p.Exited(), p.ExitCode())
	}
	p.Kill() // has no effect on a process that has ended
}

func TestStartFailsWithoutProgram(t *testing.T) {
	if _, err := Start(nil, nil, nil, nil); err == nil {
		t.Error("Start without a command returned no error")
	}
	if _, err := Start([]string{"/does/not/exist"}, nil, nil, nil); err == nil {
		t.Error("Start of a file that does not exist returned no error")
	}
}

// Addresses of this package's tests, which nothing else on the machine uses.
const serverHost, clientHost = "127.0.77.1", "127.0.77.9"

func startServer(t *testing.T, args ...string) *Server {
	t.Helper()
	grpcPort, err := FreePort([]string{serverHost}, 21000)
	if err != nil {
		t.Fatal(err)
	}
	httpPort, err := FreePort([]string{serverHost}, 21000, grpcPort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := StartServer(ctx, ServerSpec{
		Command: self(t, "serve"), Name: "pod-a", Host: serverHost,
		GRPCPort: grpcPort, HTTPPort: httpPort, Args: args,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(time.Minute) })
	return s
}

func TestServerAndClient(t *testing.T) {
	s := startServer(t)
	var mu sync.Mutex
	var reports []Report
	enough := make(chan struct{})
	c, err := StartClient(ClientSpec{
		Command: self(t, "call"), Target: s.GRPC(), Channels: 2, Rate: 200, Source: clientHost, Every: 50 * time.Millisecond,
		OnReport: func(r Report) {
			mu.Lock()
			defer mu.Unlock()
			if reports = append(reports, r); len(reports) == 4 {
				close(enough)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Fatal("the client has not sent 4 reports within a minute")
	}
	st, err := s.Status(t.Context())
	for end := time.Now().Add(time.Minute); err == nil && st.Connections < 2 && time.Now().Before(end); {
		st, err = s.Status(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if st.Pod != "pod-a" || st.Connections != 2 || st.Keys != 1 {
		t.Errorf("got pod %q with %d connections of %d keys, want pod-a with 2 of 1", st.Pod, st.Connections, st.Keys)
	}
	c.Stop(time.Minute)
	if c.ExitCode() != 0 {
		t.Errorf("the client exited with status %d, want 0", c.ExitCode())
	}
	mu.Lock()
	defer mu.Unlock()
	checkReports(t, reports)
	s.Stop(time.Minute)
	if s.ExitCode() != 0 {
		t.Errorf("the server exited with status %d, want 0", s.ExitCode())
	}
}

// checkReports checks that the last report is the total, that it is the sum of the
// others, and that no RPC failed.
func checkReports(t *testing.T, reports []Report) {
	t.Helper()
	last := reports[len(reports)-1]
	sum := 0
	for _, r := range reports[:len(reports)-1] {
		sum += r.Calls["pod-a"]
		if r.Total || r.Failures != 0 {
			t.Errorf("got report %+v, want no total and no failures", r)
		}
	}
	if !last.Total || last.Calls["pod-a"] != sum || sum == 0 {
		t.Errorf("got total %+v, want the sum, %d calls", last, sum)
	}
}

func TestStartServerReportsWhyItExited(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := StartServer(ctx, ServerSpec{
		Command: self(t, "serve"), Name: "pod-a", Host: serverHost, GRPCPort: 1, HTTPPort: 2,
		Args: []string{"-set", "rebalance.tolerance=7"},
	})
	if err == nil || !strings.Contains(err.Error(), "status 2") || !strings.Contains(err.Error(), "rebalance.tolerance") {
		t.Errorf("got %v, want an error with the exit status and the invalid key", err)
	}
}

func TestFreePort(t *testing.T) {
	ln, err := net.Listen("tcp", serverHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	busy := ln.Addr().(*net.TCPAddr).Port
	got, err := FreePort([]string{"127.0.0.1", serverHost}, busy, busy+1)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains([]int{busy, busy + 1}, got) {
		t.Errorf("got port %d, which is taken", got)
	}
}
