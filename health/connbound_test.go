package health

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// dialFrom opens a connection to the server from an address, and sends a request on it.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_, _ = io.WriteString(nc, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
	return nc
}

// stillOpen reports whether the server has left a connection open.
func stillOpen(nc net.Conn) bool {
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := io.Copy(io.Discard, nc)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// A thousand idle connections leave so many open as the bound allows. Others are served, and
// keep theirs.
func TestConnectionsAreBounded(t *testing.T) {
	r := run(t, "http://", &http.Client{Transport: &http.Transport{}})
	addr := strings.TrimPrefix(r.base, "http://")
	kubelet := dialFrom(t, "127.0.0.1", addr)
	var all []net.Conn
	for i := range 1000 {
		all = append(all, dialFrom(t, fmt.Sprintf("127.0.3.%d", 1+i%20), addr))
	}
	if code, _ := r.get(t, "/statusz"); code != 200 {
		t.Errorf("beside the idle connections: got %d, want 200", code)
	}
	if !stillOpen(kubelet) {
		t.Error("the only connection of its address was closed")
	}
	open := 0
	for _, nc := range all {
		if stillOpen(nc) {
			open++
		}
	}
	if open > maxConns || open < maxConns-20 {
		t.Errorf("%d idle connections are open, want about %d", open, maxConns)
	}
	r.end()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// fakeConn has an address.
type fakeConn struct {
	net.Conn

	addr   string
	closed atomic.Bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return stringAddr(c.addr) }

func (c *fakeConn) Close() error {
	c.closed.Store(true)
	return nil
}

type stringAddr string

func (stringAddr) Network() string  { return "tcp" }
func (a stringAddr) String() string { return string(a) }

// Who has most gives way first, then who is idle, then who is oldest. Who has most, and uses
// all, gets no more.
func TestWhichConnectionIsClosed(t *testing.T) {
	const none = -1
	for _, tc := range []struct {
		addrs  string // in their order, the last is new; upper case: a request is in progress
		victim int
		admits bool
	}{
		{"abbc", 1, true},
		{"aBbc", 2, true},
		{"aBBc", 1, true},
		{"abcd", 0, true},
		{"Abcd", 1, true},
		{"ABCD", 0, true},
		{"abbcc", 1, true},
		{"aBBb", none, false},
		{"aBbb", 2, true},
		{"aBBCCb", none, false},
		{"AABa", none, false},
		{"ABCa", 0, true},
	} {
		b := &connBound{most: len(tc.addrs) - 1}
		b.bound(&http.Server{ReadHeaderTimeout: time.Second})
		var all []*fakeConn
		for i, a := range tc.addrs {
			c := &fakeConn{addr: fmt.Sprintf("10.0.0.%d:%d", strings.ToLower(string(a))[0], i+1)}
			all = append(all, c)
			if i == len(tc.addrs)-1 {
				break
			}
			b.observe(c, http.StateNew)
			if up := tc.addrs[i : i+1]; up == strings.ToUpper(up) {
				b.observe(c, http.StateActive)
			}
		}
		if got := b.admit(all[len(all)-1]); got != tc.admits {
			t.Errorf("%s: admitted: %t, want %t", tc.addrs, got, tc.admits)
		}
		for i, c := range all {
			if c.closed.Load() != (i == tc.victim) {
				t.Errorf("%s: connection %d is closed: %t, want the one of %d closed", tc.addrs, i, c.closed.Load(), tc.victim)
			}
			b.observe(c, http.StateClosed)
		}
		if len(b.all) != 0 || len(b.by) != 0 {
			t.Errorf("%s: %d connections and %d addresses are left", tc.addrs, len(b.all), len(b.by))
		}
	}
}

// A refused connection stays for a second, and no more of them than of others.
func TestRefusedConnectionsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &connBound{most: 1}
		first, second := &fakeConn{}, &fakeConn{}
		b.refuse(first)
		b.refuse(second)
		if first.closed.Load() || !second.closed.Load() {
			t.Errorf("closed at once: %t and %t, want the second one", first.closed.Load(), second.closed.Load())
		}
		time.Sleep(refusedFor + time.Millisecond)
		synctest.Wait()
		if !first.closed.Load() || b.refused != 0 {
			t.Errorf("a second later: closed %t, %d are left", first.closed.Load(), b.refused)
		}
	})
}
