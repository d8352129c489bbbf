package web

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// followFor is the least time in which clients can follow a growth and the way back.
const followFor = 45 * time.Second

// followers is how many connections the clients have at least: 8 each of Node and Java with
// HTTP/1.1, and 4 each of the two h2loads, which are away for a moment now and then.
const followers = 16

// Clients that others have written follow 2 to 5 pods and back, beside the same clients of bare
// servers. New connections go to a random pod, as behind a ClusterIP.
func TestOtherClientsFollow(t *testing.T) {
	needOthers(t)
	if *othersFor < followFor {
		t.Skipf("needs -others-for %v", followFor)
	}
	for i := range others {
		others[i].need(t)
	}
	bare, tracked := newFleet(t, 40, false), newFleet(t, 41, true)
	beside, got := make([]outcome, len(others)), make([]outcome, len(others))
	var wg sync.WaitGroup
	for f, to := range map[*fleet][]outcome{bare: beside, tracked: got} {
		f.grow(2)
		for i := range others {
			addr := f.relay(fmt.Sprintf("127.31.%d.%d", f.net, 1+i), others[i].secure)
			wg.Go(func() { to[i] = others[i].run(t, addr, f.ca) })
		}
	}
	even := func() bool { return tracked.even() && sum(tracked.serving()) >= followers }
	await(t, tracked, "all clients are there, and two pods are even", even)
	time.Sleep(5 * time.Second) // the pods' reports, and whatever evens out two
	before, opened, begun := tracked.goaways(), tracked.opened.Load(), time.Now()
	bare.grow(5)
	tracked.grow(5)
	await(t, tracked, "five pods are even", even)
	t.Logf("5 pods: even after %.1f s: %v connections, %d drained, %d new", time.Since(begun).Seconds(),
		tracked.serving(), tracked.goaways()-before, tracked.opened.Load()-opened)
	wg.Go(func() { bare.shrink(2) })
	tracked.shrink(2)
	begun = time.Now()
	await(t, tracked, "two pods are even", even)
	t.Logf("2 pods: even after %.1f s: %v connections", time.Since(begun).Seconds(), tracked.serving())
	wg.Wait()
	for i := range others {
		t.Logf("%-40s %6d calls, %d failed; bare: %6d calls, %d failed", others[i].name, got[i].calls, got[i].failed, beside[i].calls, beside[i].failed)
		others[i].check(t, got[i])
	}
}

// relay passes new connections on to a random pod, from an address of the client's own, and returns
// where it listens.
func (f *fleet) relay(source string, secure bool) (addr string) {
	l := f.listen("127.0.0.1:0")
	context.AfterFunc(f.ctx, func() { _ = l.Close() })
	f.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.pass(client, source, secure) })
		}
	})
	return l.Addr().String()
}

// pass passes bytes on in both directions until both have ended.
func (f *fleet) pass(client net.Conn, source string, secure bool) {
	defer client.Close()
	server, err := f.dial(f.ctx, source, secure)
	if err != nil {
		return
	}
	defer server.Close()
	ends := context.AfterFunc(f.ctx, func() { _, _ = client.Close(), server.Close() })
	defer ends()
	var wg sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		wg.Go(func() {
			_, _ = io.Copy(to, from)
			_ = to.(*net.TCPConn).CloseWrite()
		})
	}
	wg.Wait()
}
