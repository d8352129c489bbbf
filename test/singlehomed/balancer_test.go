package singlehomed

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// tcpBalancer is a clusterIP in plain Go. It picks a random pod for each connection and connects
// to it from the client's own address, as the kernel would.
type tcpBalancer struct {
	net  int
	port int

	mu   sync.Mutex
	pods []string
	open map[net.Conn]bool // nil: closed
	wg   sync.WaitGroup
}

// listenBalancer listens at one front for each of n clients. Pods see one source address per
// front, whatever address the client connects from.
func listenBalancer(t *testing.T, s *service, netNumber, n int) *tcpBalancer {
	t.Helper()
	b := &tcpBalancer{net: netNumber, port: s.ports.grpc, open: map[net.Conn]bool{}}
	var lns []net.Listener
	for i := range n {
		addr, _ := b.front(i)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		lns = append(lns, ln)
		b.wg.Go(func() { b.serve(ln, b.source(i)) })
	}
	t.Cleanup(func() {
		for _, ln := range lns {
			ln.Close()
		}
		b.close()
	})
	return b
}

func (b *tcpBalancer) front(i int) (addr, source string) {
	return fmt.Sprintf("127.23.%d.%d:%d", b.net, i+1, b.port), ""
}

func (b *tcpBalancer) source(i int) string { return fmt.Sprintf("127.22.%d.%d", b.net, i+1) }

func (b *tcpBalancer) set(_ *testing.T, pods []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pods = pods
}

func (b *tcpBalancer) close() {
	b.mu.Lock()
	for c := range b.open {
		c.Close()
	}
	b.open = nil
	b.mu.Unlock()
	b.wg.Wait()
}

func (b *tcpBalancer) serve(ln net.Listener, source string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		b.wg.Go(func() { b.pass(c, source) })
	}
}

func (b *tcpBalancer) pass(client net.Conn, source string) {
	pod, err := b.dial(source)
	if err != nil {
		client.Close()
		return
	}
	if !b.keep(client, pod) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { stream(pod, client) })
	wg.Go(func() { stream(client, pod) })
	wg.Wait()
	b.drop(client, pod)
}

func (b *tcpBalancer) dial(source string) (net.Conn, error) {
	b.mu.Lock()
	pods := b.pods
	b.mu.Unlock()
	if len(pods) == 0 {
		return nil, fmt.Errorf("no pods")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	return d.DialContext(ctx, "tcp", pods[rand.IntN(len(pods))])
}

// stream copies one direction and passes on its end.
func stream(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if tcp, ok := to.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
}

// keep registers connections so that close can close them. It reports false if close has been
// called already.
func (b *tcpBalancer) keep(conns ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		if b.open == nil {
			c.Close()
			continue
		}
		b.open[c] = true
	}
	return b.open != nil
}

func (b *tcpBalancer) drop(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(b.open, c)
	}
}
