package peerz

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fleet is a network of pods in a bubble.
type fleet struct {
	mu    sync.Mutex
	hang  map[netip.AddrPort]bool // take the question and do not answer
	asked map[netip.AddrPort]int
}

func newFleet() *fleet {
	return &fleet{hang: map[netip.AddrPort]bool{}, asked: map[netip.AddrPort]int{}}
}

// dial makes a connection to a pod that answers one question.
func (f *fleet) dial(_ context.Context, _, addr string) (net.Conn, error) {
	at := netip.MustParseAddrPort(addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[at]++
	ours, theirs := net.Pipe()
	go f.serve(theirs, at, f.hang[at])
	return ours, nil
}

func (f *fleet) serve(c net.Conn, at netip.AddrPort, hang bool) {
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	if hang {
		_, _ = r.ReadByte() // until the client hangs up
		return
	}
	body := fmt.Sprintf(`{"pod":"%s","ready":true,"uptimeMillis":1,"connections":%d}`, at.Addr(), at.Addr().As4()[3])
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(body), body)
}

func (f *fleet) set(which map[netip.AddrPort]bool, on bool, addrs ...netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range addrs {
		which[a] = on
	}
}

func podAddrs(n int) []netip.AddrPort {
	list := make([]netip.AddrPort, n)
	for i := range list {
		list[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(i >> 8), byte(i)}), 8080)
	}
	return list
}

// pollTest runs f in a bubble with a Poller on a fleet.
func pollTest(t *testing.T, f func(t *testing.T, pods *fleet, p *Poller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		pods := newFleet()
		p := &Poller{Client: &Client{Dial: pods.dial}}
		f(t, pods, p)
		p.Close()
	})
}

func TestPollAsksAll(t *testing.T) {
	pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
		addrs := podAddrs(100)
		for i, a := range p.Poll(t.Context(), addrs) {
			if a.Err != nil || a.Report.Connections != i%256 || a.Report.Pod != addrs[i].Addr().String() {
				t.Errorf("%v: %+v", addrs[i], a)
			}
		}
		if got := p.Poll(t.Context(), nil); len(got) != 0 {
			t.Errorf("got %v without a pod to ask", got)
		}
	})
}

func TestPollReturnsInTimeThoughAllHang(t *testing.T) {
	for _, n := range []int{1, 8, 9, 33, 500} {
		pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
			addrs := podAddrs(n)
			pods.set(pods.hang, true, addrs...)
			start := time.Now()
			answers := p.Poll(t.Context(), addrs)
			if d := time.Since(start); d > time.Second {
				t.Errorf("%d pods that hang: the poll took %v", n, d)
			}
			for _, a := range answers {
				if ClassOf(a.Err) != Timeout {
					t.Errorf("%d pods that hang: %+v", n, a)
				}
			}
		})
	}
}

func TestPollAsksAFewAtATime(t *testing.T) {
	for _, tc := range []struct{ set, want int }{{0, DefaultConcurrency}, {-1, DefaultConcurrency}, {3, 3}} {
		pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
			p.Concurrency = tc.set
			addrs := podAddrs(50)
			pods.set(pods.hang, true, addrs...)
			go p.Poll(t.Context(), addrs)
			synctest.Wait()
			pods.mu.Lock()
			defer pods.mu.Unlock()
			if len(pods.asked) != tc.want {
				t.Errorf("%d pods are asked at a time, want %d", len(pods.asked), tc.want)
			}
			for _, a := range addrs[:tc.want] {
				if pods.asked[a] == 0 {
					t.Errorf("%v is not among the first", a)
				}
			}
		})
	}
}

// With 8 at a time and a quarter of the time each, 32 pods that hang have their turn. The
// others have not failed: they were not asked.
func TestPodsWithoutATurnAreNotAsked(t *testing.T) {
	pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
		addrs := podAddrs(64)
		pods.set(pods.hang, true, addrs...)
		for i, a := range p.Poll(t.Context(), addrs) {
			if notAsked := errors.Is(a.Err, ErrNotAsked); notAsked != (i >= 32) || notAsked != (pods.asked[addrs[i]] == 0) {
				t.Errorf("%d of 64: %+v, asked %d times", i, a, pods.asked[addrs[i]])
			}
		}
	})
}

func TestPollEndsWithItsContext(t *testing.T) {
	pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
		addrs := podAddrs(50)
		pods.set(pods.hang, true, addrs...)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		p.Poll(ctx, addrs)
		if d := time.Since(start); d != 100*time.Millisecond {
			t.Errorf("returned after %v", d)
		}
	})
}

// The same with sockets: pods on several addresses, one that hangs, one that is not
// there, several polls at the same time.
func TestPollOverSockets(t *testing.T) {
	p := &Poller{} // its zero value works
	defer p.Close()
	var addrs []netip.AddrPort
	for i := range 4 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", i+2))
		if err != nil {
			t.Skip("no more loopback addresses:", err)
		}
		s := &http.Server{Handler: Handler(func([]string) Report { return good })}
		go s.Serve(l)
		defer s.Close()
		addrs = append(addrs, netip.MustParseAddrPort(l.Addr().String()))
	}
	hangs := netip.MustParseAddrPort(silentListener(t))
	gone := netip.MustParseAddrPort(closedPort(t))
	addrs = append(addrs, hangs, gone)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i, a := range p.Poll(t.Context(), addrs) {
				if (i < 4) != (a.Err == nil) {
					t.Errorf("%v: %v", addrs[i], a.Err)
				}
			}
		})
	}
	wg.Wait()
}
