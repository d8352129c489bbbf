//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const helloProto = "../../example/proto/hello/v1/hello.proto"

// server is the process with the three servers of one row.
type server struct {
	*process
	GRPC []string `json:"grpc"`
	HTTP []string `json:"http"`
	ca   string
}

// status is the part of /statusz that is looked at here.
type status struct {
	Connections int            `json:"connections"`
	Draining    int            `json:"draining"`
	Opened      int            `json:"opened"`
	GoAways     map[string]int `json:"goaways"`
	Closed      map[string]int `json:"closed"`
	Untracked   int            `json:"untracked"`
}

// totals are the counts of the three servers together, at the end.
type totals struct {
	GoAways, Opened, Forced int
	// Served is how many calls reached a handler.
	Served int
}

func startServer(t *testing.T, tls bool) *server {
	s := &server{}
	argv := []string{built("server")}
	if tls {
		cert, key := certificate(t)
		s.ca = cert
		argv = append(argv, "-tls-cert", cert, "-tls-key", key)
	}
	s.process = start(t, argv, nil)
	decodeLine(t, s.line(t, 30*time.Second), s)
	return s
}

// statuses asks the health endpoint of each server, as a person would.
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

// calm ends the asking and waits until nobody is on the way out any more.
func (s *server) calm(t *testing.T) {
	t.Helper()
	res, err := http.Post("http://"+s.HTTP[0]+"/calm", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	eventually(t, 20*time.Second, "connections are still draining", func() bool {
		return s.sum(t, draining) == 0
	})
}

// leftOpen returns how many sockets there are beside the connections that are
// in use, while the client is idle with its channel open: those that it was
// asked to leave and that neither side has closed.
func (s *server) leftOpen(t *testing.T) int {
	t.Helper()
	s.calm(t)
	left := 0
	eventually(t, 20*time.Second, "sockets are left open", func() bool {
		ours, theirs := s.sockets(t)
		left = max(ours, theirs) - s.sum(t, connections)
		return left == 0
	})
	return left
}

// end waits until no connection is left, ends the servers and returns the counts.
func (s *server) end(t *testing.T) totals {
	t.Helper()
	s.calm(t)
	eventually(t, 20*time.Second, "connections are left though the client is gone", func() bool {
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
		t.Errorf("%d connections opened, %d closed", sum.Opened, closed)
	}
	if untracked != 0 {
		t.Errorf("%d RPCs on connections that were not tracked", untracked)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.exit(t)
	return sum
}

// sockets counts, from outside, the sockets at the servers' ends and at the
// clients' ends. One in TIME-WAIT is closed: only the kernel remembers it.
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
