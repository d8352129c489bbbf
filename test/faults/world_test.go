//go:build interop && linux

package faults

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/test/faults/link"
	"github.com/evenkeel-go/evenkeel/test/faults/netns"
)

const (
	clientHost = "198.18.2.1"
	// port is the same for all pods, as in Kubernetes.
	port = "50051"
	// usualAge is how often each connection is drained, where a place does not say: by DrainAll, or by
	// a bare server's MaxConnectionAge.
	usualAge = 2 * time.Second
)

// world is a few pods, clients, and the link between them.
type world struct {
	servers, clients *netns.Space
	link             *link.Link
	all              []*pod
	place
}

// place is how the pods of a world are set up.
type place struct {
	pods int
	// bare pods are without evenkeel. MaxConnectionAge drains their connections.
	bare   bool
	shape  link.Shape
	policy config.Policy
	// age is how often each connection is drained, usualAge if it is 0.
	age time.Duration
}

func newWorld(t *testing.T, p place) *world {
	t.Helper()
	needNetworks(t)
	if p.age == 0 {
		p.age = usualAge
	}
	w := &world{servers: newSpace(t), clients: newSpace(t), place: p}
	var hosts []string
	for i := range p.pods {
		hosts = append(hosts, fmt.Sprintf("198.18.1.%d", i+1))
	}
	ours, err := w.servers.TUN("servers", hosts...)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := w.clients.TUN("clients", clientHost)
	if err != nil {
		t.Fatal(err)
	}
	w.link = link.New(ours, theirs, p.shape, 15)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.link.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	for i, host := range hosts {
		w.all = append(w.all, w.startPod(t, i, host))
	}
	return w
}

func newSpace(t *testing.T) *netns.Space {
	t.Helper()
	s, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// addrs returns the addresses of the pods.
func (w *world) addrs() (addrs []string) {
	for _, p := range w.all {
		addrs = append(addrs, p.addr)
	}
	return addrs
}

// connect connects from the clients' side.
func (w *world) connect(ctx context.Context, addr string) (net.Conn, error) {
	return w.clients.Dial(ctx, "tcp", addr)
}

// sum adds up a figure of /statusz over all pods.
func (w *world) sum(t *testing.T, of func(status) int) int {
	t.Helper()
	n := 0
	for _, p := range w.all {
		n += of(p.status(t))
	}
	return n
}

func (w *world) served() (n int) {
	for _, p := range w.all {
		n += int(p.served.Load())
	}
	return n
}

// drainAlternately drains the pods, one after the other, each once per age, until ctx is done.
// Two GOAWAYs at the same time could use up a client's single transparent retry.
func (w *world) drainAlternately(ctx context.Context) {
	tick := time.NewTicker(w.age / time.Duration(len(w.all)))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
			w.all[i%len(w.all)].bal.DrainAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// sockets counts the sockets of the service at both sides, as ss reports them. Those in TIME-WAIT
// are closed; only the kernel still remembers them.
func (w *world) sockets(t *testing.T) (ours, theirs int) {
	t.Helper()
	count := func(s *netns.Space, column int) (n int) {
		out, err := s.Output("ss", "-Htan")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) > 4 && f[0] != "LISTEN" && f[0] != "TIME-WAIT" && slices.Contains(w.addrs(), f[column]) {
				n++
			}
		}
		return n
	}
	return count(w.servers, 3), count(w.clients, 4)
}

// leftOpen returns how many sockets are open beside the connections that the pods count. It waits
// until there are none.
func (w *world) leftOpen(t *testing.T) int {
	t.Helper()
	left := 0
	eventually(t, time.Minute, "drained sockets are still open", func() bool {
		ours, theirs := w.sockets(t)
		left = max(ours, theirs) - w.sum(t, connections)
		return w.sum(t, draining) == 0 && left <= 0
	})
	return left
}

// checkClosed waits until no connection is left, and checks that each one is accounted for.
func (w *world) checkClosed(t *testing.T, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "connections are left although the clients have gone", func() bool {
		ours, _ := w.sockets(t)
		return w.sum(t, connections) == 0 && ours == 0
	})
	if opened, all := w.sum(t, opened), w.sum(t, closed); opened != all {
		t.Errorf("%d connections were opened and %d closed", opened, all)
	}
}
