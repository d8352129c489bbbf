package serveropts

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/internal/inside"
)

// ErrServerOnly is returned when a client uses the credentials of [Options] or
// [TransportCredentials]: give the client credentials of its own.
var ErrServerOnly = errors.New("serveropts: these credentials are for servers only")

// tracked runs the handshake of the credentials below and hands the connection that
// comes out of it to the Balancer.
type tracked struct {
	creds credentials.TransportCredentials
	bal   inside.Balancer
}

// ServerHandshake runs the handshake below and has its connection tracked.
func (t *tracked) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ours := raw.(*inProcessConn); ours {
		return t.creds.ServerHandshake(raw)
	}
	// Until it is tracked: RemoteAddr of a PROXY-protocol listener's connection waits for the
	// header, and Shutdown must be able to close a connection that sends none.
	defer t.bal.Handshake(raw)()
	conn, info, err := t.creds.ServerHandshake(raw)
	if err != nil {
		closeRefused(raw, err)
		return conn, info, err
	}
	return t.bal.Track(conn, info), info, nil
}

// closeRefused closes a connection whose handshake has failed. grpc-go does so a moment
// later, but asks for its RemoteAddr first, in one place with the lock of the server held. If
// the credentials refused without reading, that call still waits for the PROXY header.
// ErrConnDispatched means that the connection belongs to somebody else now.
func closeRefused(raw net.Conn, err error) {
	if !errors.Is(err, credentials.ErrConnDispatched) {
		_ = raw.Close()
	}
}

// ClientHandshake refuses.
func (t *tracked) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, ErrServerOnly
}

// Info is that of the credentials below.
func (t *tracked) Info() credentials.ProtocolInfo { return t.creds.Info() }

// Clone copies the credentials below; the Balancer stays the same.
func (t *tracked) Clone() credentials.TransportCredentials {
	return &tracked{creds: t.creds.Clone(), bal: t.bal}
}

// OverrideServerName refuses: it is for clients. grpc has deprecated it and keeps it in
// the interface.
func (t *tracked) OverrideServerName(string) error { return ErrServerOnly }
