package tracker

import (
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// BreakEnv names the environment variable that breaks the tracking on purpose, to prove that
// the suites notice. Its value is one of Breakages; without it nothing is broken.
const BreakEnv = "EVENKEEL_CONFORMANCE_BREAK"

// breakages are mistakes that a tracker could make.
var breakages = map[string]handshaken{
	"drop-byte": func(conn net.Conn, info credentials.AuthInfo) (net.Conn, credentials.AuthInfo) {
		return &dropByte{Conn: conn, lost: 10_000}, info
	},
	"drop-early-byte": func(conn net.Conn, info credentials.AuthInfo) (net.Conn, credentials.AuthInfo) {
		return &dropByte{Conn: conn, lost: 60}, info
	},
	"no-auth-info": func(conn net.Conn, _ credentials.AuthInfo) (net.Conn, credentials.AuthInfo) {
		return conn, nil
	},
}

// handshaken changes the results of a handshake.
type handshaken func(net.Conn, credentials.AuthInfo) (net.Conn, credentials.AuthInfo)

// untracked is the mistake of not tracking at all.
const untracked = "untracked"

// breakage returns the mistake that the environment asks for, nil if it asks for none.
func breakage() handshaken {
	name := os.Getenv(BreakEnv)
	if name == "" || name == untracked {
		return nil
	}
	broken, ok := breakages[name]
	if !ok {
		panic(fmt.Sprintf("%s=%s is not a way to break the tracking", BreakEnv, name))
	}
	return broken
}

// Break returns credentials that break each connection in the way that the environment asks
// for, which is none in real runs: then it returns creds.
func Break(creds credentials.TransportCredentials) credentials.TransportCredentials {
	if breaking := breakage(); breaking != nil {
		return broken{creds, breaking}
	}
	return creds
}

// BreakListener is Break for the connections of a listener.
func BreakListener(lis net.Listener) net.Listener {
	if breaking := breakage(); breaking != nil {
		return brokenListener{lis, breaking}
	}
	return lis
}

type brokenListener struct {
	net.Listener
	breaking handshaken
}

func (b brokenListener) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err == nil {
		conn, _ = b.breaking(conn, nil)
	}
	return conn, err
}

type broken struct {
	credentials.TransportCredentials
	breaking handshaken
}

func (b broken) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := b.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return conn, info, err
	}
	conn, info = b.breaking(conn, info)
	return conn, info, nil
}

// dropByte loses one byte of what the server writes.
type dropByte struct {
	net.Conn
	lost    int // its place
	written int
}

func (d *dropByte) Write(p []byte) (int, error) {
	at := d.lost - d.written
	d.written += len(p)
	if at < 0 || at >= len(p) {
		return d.Conn.Write(p)
	}
	if _, err := d.Conn.Write(append(append([]byte(nil), p[:at]...), p[at+1:]...)); err != nil {
		return 0, err
	}
	return len(p), nil
}
