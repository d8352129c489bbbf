//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

const helloProto = "../../example/proto/hello/v1/hello.proto"

// server is the process that runs the three servers of one row.
type server struct {
	*process
	GRPC []string `json:"grpc"`
	HTTP []string `json:"http"`
	ca   string
}

// status is the part of /statusz that these tests need.
type status struct {
	Connections int            `json:"connections"`
	Draining    int            `json:"draining"`
	Opened      int            `json:"opened"`
	GoAways     map[string]int `json:"goaways"`
	Closed      map[string]int `json:"closed"`
	Untracked   int            `json:"untracked"`
}

// totals are the final counts of all three servers.
type totals struct {
	GoAways, Opened, Forced int
	// Served is the number of calls that reached a handler.
	Served int
}

// startServer starts the servers of a row. Bare ones are without evenkeel.
func startServer(t *testing.T, r row, bare bool) *server {
	s := &server{}
	argv := []string{built("server"), "-max-streams", strconv.Itoa(r.load.maxStreams), "-bare=" + strconv.FormatBool(bare), "-together=" + strconv.FormatBool(r.together)}
	if r.tls {
		cert, key := certificate(t)
		s.ca = cert
		argv = append(argv, "-tls-cert", cert, "-tls-key", key)
	}
	if r.onePort {
		argv = append(argv, "-addrs", onePort(t))
	}
	s.process = start(t, argv, nil)
	decodeLine(t, s.line(t, 30*time.Second), s)
	return s
}

// onePort returns the three addresses with one port. It holds the port until the test ends, since
// rows that run at the same time need different ones.
func onePort(t *testing.T) string {
	t.Helper()
	hosts := []string{"127.0.4.1", "127.0.4.2", "127.0.4.3"}
	port, hold, err := fleet.HoldPort(hosts, "127.0.4.254", 26100)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })
	for i := range hosts {
		hosts[i] = net.JoinHostPort(hosts[i], strconv.Itoa(port))
	}
	return strings.Join(hosts, ",")
}

// statuses reads /statusz of each server.
func (s *server) statuses(t *testing.T) []status {
	t.Helper()
	var all []status
	for _, addr := range s.HTTP {
		res, err := http.Get("http://" + addr + "/statusz")
		if err != nil {
			t.Fatal(err)
		}
		var st status
		err = json.NewDecoder(res.Body).Decode(&st)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, st)
	}
	return all
}

func (s *server) sum(t *testing.T, of func(status) int) int {
	t.Helper()
	n := 0
	for _, st := range s.statuses(t) {
		n += of(st)
	}
	return n
}

func (s *server) served(t *testing.T) int {
	t.Helper()
	res, err := http.Get("http://" + s.HTTP[0] + "/served")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n := 0
	if _, err := fmt.Fscan(res.Body, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func draining(st status) int    { return st.Draining }
func connections(st status) int { return st.Connections }

// stopDraining ends the drains and waits until no connection is draining.
func (s *server) stopDraining(t *testing.T) {
	t.Helper()
	res, err := http.Post("http://"+s.HTTP[0]+"/stop-draining", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	eventually(t, 20*time.Second, "connections are still draining", func() bool {
		return s.sum(t, draining) == 0
	})
}

// leftOpen returns the number of open sockets besides the connections in use, while the client is
// idle with its channel open. These are drained connections that neither side has closed, or
// connections on which the client has sent nothing. It waits until there are no more than allowed.
func (s *server) leftOpen(t *testing.T, allowed int) int {
	t.Helper()
	s.stopDraining(t)
	open := 0
	eventually(t, 20*time.Second, "drained sockets are still open", func() bool {
		ours, theirs := s.sockets(t)
		open = max(ours, theirs) - s.sum(t, connections)
		return open <= allowed
	})
	return open
}

// end waits until all connections are closed, ends the servers and returns their totals.
func (s *server) end(t *testing.T) totals {
	t.Helper()
	s.stopDraining(t)
	eventually(t, 20*time.Second, "connections are still open although the client has exited", func() bool {
		ours, theirs := s.sockets(t)
		return s.sum(t, connections) == 0 && ours == 0 && theirs == 0
	})
	sum := totals{Served: s.served(t)}
	closed, untracked := 0, 0
	for _, st := range s.statuses(t) {
		sum.GoAways += st.GoAways["manual"]
		sum.Opened += st.Opened
		sum.Forced += st.Closed["forced"]
		for _, n := range st.Closed {
			closed += n
		}
		untracked += st.Untracked
	}
	if closed != sum.Opened {
		t.Errorf("got %d closed connections, want all %d opened ones", closed, sum.Opened)
	}
	if untracked != 0 {
		t.Errorf("got %d RPCs on untracked connections, want 0", untracked)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.exit(t)
	return sum
}

// sockets counts the sockets at the servers' ends and at the client's ends, as ss reports them.
// Sockets in TIME-WAIT are closed; only the kernel still remembers them.
func (s *server) sockets(t *testing.T) (ours, theirs int) {
	t.Helper()
	out, err := exec.Command("ss", "-Htan").Output()
	if err != nil {
		t.Fatalf("ss: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] == "LISTEN" || f[0] == "TIME-WAIT" {
			continue
		}
		if slices.Contains(s.GRPC, f[3]) {
			ours++
		}
		if slices.Contains(s.GRPC, f[4]) {
			theirs++
		}
	}
	return ours, theirs
}
