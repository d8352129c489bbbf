package singlehomed

import (
	"fmt"
	"net"
	"sync"
	"testing"
)

// gate is a proxy for one pod's health port, used by one other pod. While it is shut it passes
// nothing on, like a firewall that drops packets.
type gate struct {
	ln net.Listener
	to string

	mu     sync.Mutex
	open   chan struct{} // closed while the gate is open
	conns  []net.Conn
	closed bool
	wg     sync.WaitGroup
}

func startGate(t *testing.T, ln net.Listener, to string) *gate {
	g := &gate{ln: ln, to: to, open: make(chan struct{})}
	close(g.open)
	g.wg.Go(g.serve)
	t.Cleanup(g.close)
	return g
}

func (g *gate) serve() {
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return
		}
		g.wg.Go(func() { g.pass(c) })
	}
}

func (g *gate) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer to.Close()
	if !g.keep(from, to) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { g.copy(to, from) })
	wg.Go(func() { g.copy(from, to) })
	wg.Wait()
}

// copy closes both directions at its end, since no client here uses half-closed connections.
func (g *gate) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.wait()
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// wait returns once the gate is open.
func (g *gate) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

func (g *gate) keep(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, conns...)
	return !g.closed
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

func (g *gate) close() {
	g.ln.Close()
	g.reopen()
	g.mu.Lock()
	g.closed = true
	for _, c := range g.conns {
		c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// gates has one gate for each pair of pods. The key is the number of the polling pod and the
// number of the polled pod.
type gates map[[2]int]*gate

// gateHealth makes each of n pods poll the others through gates of its own, on a port that
// identifies the polling pod. It must be called before the pods start.
func gateHealth(t *testing.T, s *service, n int) gates {
	t.Helper()
	all, ports := gates{}, map[int]int{}
	for from := 1; from <= n; from++ {
		var others []string
		for to := 1; to <= n; to++ {
			if to != from {
				others = append(others, s.pod(to))
			}
		}
		port, lns := listenAll(t, others)
		ports[from] = port
		for to := 1; to <= n; to++ {
			if to != from {
				all[[2]int{from, to}] = startGate(t, lns[s.pod(to)], fmt.Sprintf("%s:%d", s.pod(to), s.ports.http))
			}
		}
	}
	s.flags = func(n int) []string { return []string{"-set", fmt.Sprintf("peers.port=%d", ports[n])} }
	return all
}

// listenAll listens at the first port that is free on all hosts. It keeps the listeners open,
// since a port that is probed and closed can stay taken for a moment: a process that is just
// being started inherits it.
func listenAll(t *testing.T, hosts []string) (port int, lns map[string]net.Listener) {
	t.Helper()
search:
	for port = 22100; port < 23100; port++ {
		lns = map[string]net.Listener{}
		for _, host := range hosts {
			ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
			if err != nil {
				for _, ln := range lns {
					ln.Close()
				}
				continue search
			}
			lns[host] = ln
		}
		return port, lns
	}
	t.Fatal("no free port")
	return 0, nil
}

// shut shuts the gates for which block returns true.
func (g gates) shut(block func(from, to int) bool) {
	for k, one := range g {
		if block(k[0], k[1]) {
			one.shut()
		}
	}
}

func (g gates) reopen() {
	for _, one := range g {
		one.reopen()
	}
}
