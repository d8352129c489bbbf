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

// TestMain lets the test binary be the programs that the tests start.
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

// stubborn says that it lives and does not end when asked.
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

func TestProcStopKillsTheStubborn(t *testing.T) {
	out, errs := make(chan string, 10), make(chan string, 10)
	p, err := Start(self(t, "stubborn"), nil, func(s string) { out <- s }, func(s string) { errs <- s })
	if err != nil {
		t.Fatal(err)
	}
	if line := <-out; line != "alive" {
		t.Errorf("stdout %q", line)
	}
	if line := <-errs; line != "and complaining" {
		t.Errorf("stderr %q", line)
	}
	if p.Exited() {
		t.Error("has ended by itself")
	}
	p.Stop(time.Millisecond)
	if !p.Exited() || p.ExitCode() != -1 {
		t.Errorf("exited %v with %d, want -1, by a signal", p.Exited(), p.ExitCode())
	}
	p.Kill() // of what has ended: nothing happens
}

func TestStartOfNothing(t *testing.T) {
	if _, err := Start(nil, nil, nil, nil); err == nil {
		t.Error("started nothing without an error")
	}
	if _, err := Start([]string{"/does/not/exist"}, nil, nil, nil); err == nil {
		t.Error("started a file that is not there without an error")
	}
}

// hosts of this package's tests, which others on the machine do not use.
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
		t.Fatal("no reports")
	}
	st, err := s.Status(t.Context())
	for end := time.Now().Add(time.Minute); err == nil && st.Connections < 2 && time.Now().Before(end); {
		st, err = s.Status(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if st.Pod != "pod-a" || st.Connections != 2 || st.Keys != 1 {
		t.Errorf("pod %q with %d connections of %d keys, want pod-a, 2, 1", st.Pod, st.Connections, st.Keys)
	}
	c.Stop(time.Minute)
	if c.ExitCode() != 0 {
		t.Errorf("the client exited with %d", c.ExitCode())
	}
	mu.Lock()
	defer mu.Unlock()
	checkReports(t, reports)
	s.Stop(time.Minute)
	if s.ExitCode() != 0 {
		t.Errorf("the server exited with %d", s.ExitCode())
	}
}

// checkReports: the total is the last one and the sum of the others.
func checkReports(t *testing.T, reports []Report) {
	t.Helper()
	last := reports[len(reports)-1]
	sum := 0
	for _, r := range reports[:len(reports)-1] {
		sum += r.Calls["pod-a"]
		if r.Total || r.Failures != 0 {
			t.Errorf("report %+v", r)
		}
	}
	if !last.Total || last.Calls["pod-a"] != sum || sum == 0 {
		t.Errorf("total %+v, the sum is %d", last, sum)
	}
}

func TestServerThatCannotStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := StartServer(ctx, ServerSpec{
		Command: self(t, "serve"), Name: "pod-a", Host: serverHost, GRPCPort: 1, HTTPPort: 2,
		Args: []string{"-set", "rebalance.tolerance=7"},
	})
	if err == nil || !strings.Contains(err.Error(), "status 2") || !strings.Contains(err.Error(), "rebalance.tolerance") {
		t.Errorf("got %v, want the exit status and the wrong key", err)
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
		t.Errorf("%d is taken", got)
	}
}
