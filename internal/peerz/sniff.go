package peerz

import (
	"errors"
	"net"
)

// errHTTP2 is the failure of a request to the port of a gRPC server.
var errHTTP2 = &Error{
	Class: HTTP2, Err: errors.New("this port speaks gRPC (HTTP/2) and is not the health endpoint: use the health port"),
}

// errNoAnswer is what a gRPC server with TLS makes of a request, and others that close at once.
var errNoAnswer = &Error{
	Class: Other, Err: errors.New("the connection was closed without an answer: check that this is the health port, and that both sides have peers.tls or none has"),
}

// frameHeader is the length of a frame's header (RFC 9113, 4.1).
const frameHeader = 9

// sniffed fails its first Read if the other end begins with the SETTINGS of HTTP/2, as a
// server of gRPC does without having been spoken to. Neither an answer of HTTP/1.1 nor a TLS
// record looks like that. What net/http and crypto/tls make of those bytes names no cause.
type sniffed struct {
	net.Conn

	judged bool
}

func (c *sniffed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.judged || n == 0 {
		return n, err
	}
	c.judged = true
	for err == nil && p[0] == 0 && n < min(len(p), frameHeader) {
		var more int
		more, err = c.Conn.Read(p[n:])
		n += more
	}
	if isSettings(p[:n]) {
		return 0, errHTTP2
	}
	return n, err
}

// isSettings reports whether p begins with the header of a SETTINGS frame: a length of less
// than 64 KiB, the type 4, no flags, and the stream 0.
func isSettings(p []byte) bool {
	return len(p) >= frameHeader && p[0] == 0 && [6]byte(p[3:frameHeader]) == [6]byte{4}
}
