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
	hang  map[netip.AddrPort]bool // take the question and say nothing
	gone  map[netip.AddrPort]bool // cannot be dialled
	asked map[netip.AddrPort]int
}

func newFleet() *fleet {
	return &fleet{hang: map[netip.AddrPort]bool{}, gone: map[netip.AddrPort]bool{}, asked: map[netip.AddrPort]int{}}
}

// dial makes a connection to a pod that answers one question.
func (f *fleet) dial(_ context.Context, _, addr string) (net.Conn, error) {
	at := netip.MustParseAddrPort(addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[at]++
	if f.gone[at] {
		return nil, errors.New("no route to host")
	}
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
			if a.Err != nil || a.Addr != addrs[i] || a.Report.Connections != i%256 || a.At != time.Now() || a.Failures != 0 {
				t.Errorf("%v: %+v", addrs[i], a)
			}
		}
		if got := p.Poll(t.Context(), nil); len(got) != 0 {
			t.Errorf("nobody asked, got %v", got)
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
				t.Errorf("%d pods that hang: %v", n, d)
			}
			for _, a := range answers {
				if ClassOf(a.Err) != Timeout || !a.At.IsZero() {
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
		})
	}
}

func TestPodsThatHangDoNotTakeTheOthersTurn(t *testing.T) {
	pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
		addrs := podAddrs(100)
		pods.set(pods.hang, true, addrs[:60]...)
		for range 5 {
			p.Poll(t.Context(), addrs)
		}
		// By now those that hang are known, and everybody else comes first.
		for i, a := range p.Poll(t.Context(), addrs) {
			if hangs := i < 60; hangs != (a.Err != nil) {
				t.Errorf("%d of 100: %+v", i, a)
			}
		}
		// All of those that hang have had their turns.
		for _, addr := range addrs[:60] {
			if pods.asked[addr] == 0 {
				t.Errorf("%v was never asked", addr)
			}
		}
	})
}

func TestThoseWithoutATurnHaveNotFailed(t *testing.T) {
	pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
		addrs := podAddrs(64)
		pods.set(pods.hang, true, addrs...)
		p.Poll(t.Context(), addrs)
		// 8 at a time, a quarter of the round each: 32 had their turn
		second := p.Poll(t.Context(), addrs)
		for i, a := range second {
			if a.Failures != 1 || errors.Is(a.Err, ErrNoTurn) != (i < 32) {
				t.Errorf("%d of 64: %+v", i, a)
			}
		}
	})
}

func TestTheLastGoodReportIsRemembered(t *testing.T) {
	pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
		addr := podAddrs(8)[7]
		first := time.Now()
		p.Poll(t.Context(), []netip.AddrPort{addr})
		pods.set(pods.gone, true, addr)
		for i := range 3 {
			time.Sleep(time.Minute)
			a := p.Poll(t.Context(), []netip.AddrPort{addr})[0]
			if a.Err == nil || a.Report.Connections != 7 || a.At != first || a.Failures != i+1 {
				t.Errorf("gone for %d rounds: %+v", i+1, a)
			}
		}
		pods.set(pods.gone, false, addr)
		if a := p.Poll(t.Context(), []netip.AddrPort{addr})[0]; a.Err != nil || a.At != time.Now() || a.Failures != 0 {
			t.Errorf("back: %+v", a)
		}
	})
}

func TestPodsThatNobodyAsksForAreForgotten(t *testing.T) {
	pollTest(t, func(t *testing.T, _ *fleet, p *Poller) {
		addrs := podAddrs(1000)
		for len(addrs) > 0 {
			p.Poll(t.Context(), addrs[:10])
			addrs = addrs[10:]
			time.Sleep(time.Minute)
		}
		if n := len(p.last); n > 60 {
			t.Errorf("%d pods are remembered, want those of the last five minutes", n)
		}
	})
}

func TestAPodIsAskedOnceARound(t *testing.T) {
	pollTest(t, func(t *testing.T, pods *fleet, p *Poller) {
		a := podAddrs(2)
		answers := p.Poll(t.Context(), []netip.AddrPort{a[1], a[0], a[1]})
		if pods.asked[a[1]] != 1 {
			t.Errorf("asked %d times", pods.asked[a[1]])
		}
		for i, want := range []netip.AddrPort{a[1], a[0], a[1]} {
			if answers[i].Addr != want || answers[i].Report.Pod != want.Addr().String() {
				t.Errorf("answer %d: %+v", i, answers[i])
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

// The same with sockets: pods on several addresses, one that hangs, one that is
// not there, rounds at the same time.
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
					t.Errorf("%v: %v", a.Addr, a.Err)
				}
			}
		})
	}
	wg.Wait()
}
