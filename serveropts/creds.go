package serveropts

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// ErrServerOnly is returned when the credentials of Options are used by a client.
var ErrServerOnly = errors.New("serveropts: these credentials are for servers only")

// tracked does the handshake of the credentials below, if any, and hands the
// connection that comes out of it to the Balancer.
type tracked struct {
	creds credentials.TransportCredentials // nil: plaintext
	bal   *rebalance.Balancer
}

// ServerHandshake is the whole of it. Without credentials below, AuthInfo stays nil, as
// on a server without credentials.
func (t *tracked) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := raw
	var info credentials.AuthInfo
	if t.creds != nil {
		var err error
		done := t.bal.Handshake(raw)
		conn, info, err = t.creds.ServerHandshake(raw)
		if done(); err != nil {
			return conn, info, err
		}
	}
	ci := rebalance.ConnInfo{RemoteAddr: conn.RemoteAddr(), LocalAddr: conn.LocalAddr(), AuthInfo: info}
	return t.bal.Track(conn, ci), info, nil
}

// ClientHandshake refuses.
func (t *tracked) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, ErrServerOnly
}

// Info is that of the credentials below.
func (t *tracked) Info() credentials.ProtocolInfo {
	if t.creds != nil {
		return t.creds.Info()
	}
	return credentials.ProtocolInfo{}
}

// Clone copies the credentials below; the Balancer stays the same.
func (t *tracked) Clone() credentials.TransportCredentials {
	c := *t
	if t.creds != nil {
		c.creds = t.creds.Clone()
	}
	return &c
}

// OverrideServerName is for clients; servers have no use for it. It is deprecated in
// grpc and only here because the interface has it.
func (t *tracked) OverrideServerName(string) error { return ErrServerOnly }
