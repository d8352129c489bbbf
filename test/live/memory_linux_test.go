package live

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// onHealth is how many connections come to the health port, and healthOpen how many may stay.
const (
	onHealth   = 19_000
	healthOpen = 512
)

// As many idle connections come as docs/production.md says that the limit of memory has room for.
// GOMEMLIMIT is nine tenths of it, as in the chart. The pod serves meanwhile.
func TestMemoryOfIdleConnections(t *testing.T) {
	for i, tc := range []struct {
		conns, limitMiB int
	}{
		{10_000, 256}, // the chart's default
		{18_000, 448}, // the limit of open files is 20,000 in many places,
	} {
		if i > 0 && !*long {
			continue
		}
		t.Run(fmt.Sprintf("%d in %dMi", tc.conns, tc.limitMiB), func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", fmt.Sprintf("%dMiB", tc.limitMiB*9/10))
			s := newService(t, 13+i, exampleServer)
			s.grow(t, 1)
			cs := start(t, 2, "pick_first", s.target(), false, from(13+i, 1))
			cs.awaitAnswers(t)
			rest := resident(t, s.pods[0])
			idleGRPC(t, s, tc.conns)
			eventually(t, time.Minute, "not all connections are counted", func() bool {
				return status(t, s.pods[0]).Connections == tc.conns+len(cs.all)
			})
			grpc := resident(t, s.pods[0])
			open := idleHealth(t, s)
			all := resident(t, s.pods[0])
			t.Logf("%d MiB at rest, %d with idle gRPC connections, %d with %d of %d connections open on the health port",
				rest, grpc, all, open, onHealth)
			if all > tc.limitMiB {
				t.Errorf("the pod takes %d MiB, above the limit of %d", all, tc.limitMiB)
			}
			cs.check(t)
		})
	}
}

// resident returns how many MiB a process has in memory.
func resident(t *testing.T, p *fleet.Server) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// idleGRPC opens connections that send HTTP/2's preface and nothing else.
func idleGRPC(t *testing.T, s *service, n int) {
	t.Helper()
	for i := range n {
		nc := dialFrom(t, s, i, s.pods[0].GRPC())
		t.Cleanup(func() { nc.Close() })
		if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		if err := http2.NewFramer(nc, nil).WriteSettings(); err != nil {
			t.Fatal(err)
		}
	}
}

// idleHealth opens connections to the health port that stay idle after a request, until the pod
// closes them. It returns how many are left open, which may be healthOpen.
func idleHealth(t *testing.T, s *service) int {
	t.Helper()
	var open atomic.Int64
	var reading sync.WaitGroup
	t.Cleanup(reading.Wait)
	for i := range onHealth {
		nc := dialFrom(t, s, i, s.pods[0].HTTP())
		t.Cleanup(func() { nc.Close() })
		open.Add(1)
		_, _ = io.WriteString(nc, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") // it may be closed already
		reading.Go(func() {
			_, _ = io.Copy(io.Discard, nc)
			nc.Close()
			open.Add(-1)
		})
	}
	eventually(t, 10*time.Second, "the health port bounds its connections", func() bool { return open.Load() <= healthOpen })
	return int(open.Load())
}

func dialFrom(t *testing.T, s *service, i int, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.host(100 + i%hammererIPs))}, Timeout: 10 * time.Second}
	nc, err := d.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}
