package webconn

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// stater is how net/http recognizes TLS connections that are no *tls.Conn.
type stater interface{ ConnectionState() tls.ConnectionState }

// tlsConn is a conn that net/http takes for one of TLS.
type tlsConn struct {
	*conn

	sec stater
}

// HandshakeContext runs the handshake of the connection below, if it has one.
func (c *tlsConn) HandshakeContext(ctx context.Context) error {
	if h, ok := c.sec.(interface{ HandshakeContext(context.Context) error }); ok {
		return h.HandshakeContext(ctx)
	}
	return nil
}

// ConnectionState returns that of the connection below. net/http calls it after the handshake
// and before it reads or writes.
func (c *tlsConn) ConnectionState() tls.ConnectionState {
	state := c.sec.ConnectionState()
	if c.protocol.Load() == isUnknown {
		if state.NegotiatedProtocol == "h2" {
			c.takeHTTP2(c.Conn)
		} else {
			c.protocol.Store(isNotHTTP2)
		}
	}
	return state
}

// unencrypted is the key under which TLSNextProto has the function for unencrypted HTTP/2, up
// to Go 1.26 and with an x/net/http2 from before Go 1.27.
const unencrypted = "unencrypted_http2"

// adopt finds out how net/http serves TLS, once it has set up HTTP/2.
func (s *Server) adopt() {
	next := s.web.TLSNextProto
	plain, encrypted := next[unencrypted], next["h2"]
	s.wrapsTLS = anyTLS && encrypted != nil && plain == nil
	if encrypted == nil || plain == nil {
		return
	}
	own := maps.Clone(next)
	own["h2"] = func(web *http.Server, tc *tls.Conn, h http.Handler) {
		c := s.connOf(tc)
		if c == nil {
			encrypted(web, tc, h)
			return
		}
		c.takeHTTP2(tc)
		if !c.readPreface() {
			_ = c.Close()
			return
		}
		plain(web, tls.Client(hidden{conn: &tlsConn{conn: c, sec: tc}}, nil), h)
	}
	s.web.TLSNextProto = own
}

// hidden carries a connection to the function for unencrypted HTTP/2, in a *tls.Conn that
// nobody uses.
type hidden struct {
	net.Conn

	conn net.Conn
}

// UnencryptedNetConn is how that function gets at the connection.
func (h hidden) UnencryptedNetConn() net.Conn { return h.conn }

// prefaceTimeout is how long net/http waits for the preface.
const prefaceTimeout = 10 * time.Second

// readPreface reads what the function for unencrypted HTTP/2 expects to have been read.
func (c *conn) readPreface() bool {
	const want = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	_ = c.SetReadDeadline(time.Now().Add(prefaceTimeout))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.h2, got); err != nil || string(got) != want {
		return false
	}
	_ = c.SetReadDeadline(time.Time{})
	return true
}

// leave forgets a connection that is a *tls.Conn for net/http: nothing shows its end if it was
// hijacked, and nothing else does if it was closed.
func (s *Server) leave(c *conn, hijacked bool) {
	tc, ok := c.Conn.(*tls.Conn)
	if !ok {
		return
	}
	if _, ok := s.byTLS.LoadAndDelete(tc); !ok {
		return
	}
	c.spoken()
	switch {
	case c.protocol.Load() != isHTTP1:
	case hijacked:
		c.h1.TakenOver()
	case s.stopping.Load():
		c.h1.Closed()
	default:
		c.h1.Gone()
		c.h1.Closed()
	}
}

// leaveAll forgets those that net/http has closed, but whose end it has not announced yet.
func (s *Server) leaveAll() {
	s.byTLS.Range(func(_, known any) bool {
		if c, ok := known.(*conn); ok {
			s.leave(c, false)
		}
		return true
	})
}

// authOf returns the AuthInfo that the credentials of grpc-go would have returned.
func authOf(nc net.Conn) credentials.AuthInfo {
	sec, ok := nc.(stater)
	if !ok {
		_, info, _ := insecure.NewCredentials().ServerHandshake(nc)
		return info
	}
	info := credentials.TLSInfo{
		State:          sec.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}
	info.SPIFFEID = spiffeID(&info.State)
	return info
}

// spiffeID returns the SPIFFE ID of the client's certificate, nil if it has none.
func spiffeID(state *tls.ConnectionState) *url.URL {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	if uris := state.PeerCertificates[0].URIs; len(uris) == 1 && uris[0].Scheme == "spiffe" {
		return uris[0]
	}
	return nil
}
