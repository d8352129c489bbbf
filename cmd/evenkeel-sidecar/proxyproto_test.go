package main

import (
	"net"
	"testing"
)

// The headers are those of the specification, byte by byte.
func TestProxyHeader(t *testing.T) {
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	const start = "\r\n\r\n\x00\r\nQUIT\n"
	six := "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	mapped := "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01"
	for _, tc := range []struct {
		name     string
		from, to net.Addr
		want     string
	}{
		{"IPv4", tcp("192.0.2.1", 0x1234), tcp("10.0.0.1", 50051), "\x21\x11\x00\x0c\xc0\x00\x02\x01\x0a\x00\x00\x01\x12\x34\xc3\x83"},
		{"IPv6", tcp("2001:db8::1", 1), tcp("2001:db8::1", 2), "\x21\x21\x00\x24" + six + six + "\x00\x01\x00\x02"},
		{"zone", &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1, Zone: "eth0"}, tcp("2001:db8::1", 2), "\x21\x21\x00\x24" + six + six + "\x00\x01\x00\x02"},
		{"both", tcp("192.0.2.1", 1), tcp("2001:db8::1", 2), "\x21\x21\x00\x24" + mapped + six + "\x00\x01\x00\x02"},
		{"unix", &net.UnixAddr{Name: "@"}, tcp("10.0.0.1", 1), "\x21\x00\x00\x00"},
		{"none", nil, nil, "\x21\x00\x00\x00"},
	} {
		if got := string(proxyHeader(tc.from, tc.to)); got != start+tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, start+tc.want)
		}
	}
	if got := string(localHeader()); got != start+"\x20\x00\x00\x00" {
		t.Errorf("local: got %q", got)
	}
}
