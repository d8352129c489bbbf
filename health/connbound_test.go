package health

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
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
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return stringAddr(c.addr) }

func (c *fakeConn) Close() error {
	c.closed = true
	return nil
}

type stringAddr string

func (stringAddr) Network() string  { return "tcp" }
func (a stringAddr) String() string { return string(a) }

// Who has most gives way first, then who is idle, then who is oldest.
func TestWhichConnectionIsClosed(t *testing.T) {
	for _, tc := range []struct {
		addrs  string // in their order; upper case: a request is in progress
		victim int
	}{
		{"abbc", 1}, {"aBbc", 2}, {"aBBc", 1}, {"abcd", 0}, {"Abcd", 1}, {"ABCD", 0}, {"abbcc", 1},
	} {
		b := &connBound{most: len(tc.addrs) - 1}
		b.bound(&http.Server{ReadHeaderTimeout: time.Second})
		var all []*fakeConn
		for i, a := range tc.addrs {
			c := &fakeConn{addr: fmt.Sprintf("10.0.0.%d:%d", strings.ToLower(string(a))[0], i+1)}
			all = append(all, c)
		}
		for i, c := range all[:len(all)-1] {
			b.observe(c, http.StateNew)
			if up := tc.addrs[i : i+1]; up == strings.ToUpper(up) {
				b.observe(c, http.StateActive)
			}
		}
		b.observe(all[len(all)-1], http.StateNew)
		for i, c := range all {
			if c.closed != (i == tc.victim) {
				t.Errorf("%s: connection %d is closed: %t, want the one of %d closed", tc.addrs, i, c.closed, tc.victim)
			}
			b.observe(c, http.StateClosed)
		}
		if len(b.all) != 0 || len(b.by) != 0 {
			t.Errorf("%s: %d connections and %d addresses are left", tc.addrs, len(b.all), len(b.by))
		}
	}
}
