// Package inside gives serveropts, health and the sidecar the methods of a Balancer that are
// for them alone. They are not among the Balancer's exported methods, since users do not need them.
package inside

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/internal/h1conn"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// Balancer has the methods of a *rebalance.Balancer for the sibling packages.
type Balancer interface {
	Tracker
	Health
}

// Tracker has the methods for serveropts and the sidecar.
type Tracker interface {
	// Handshake notes that a handshake begins on an accepted connection. It returns the
	// function to call when the handshake ends. Shutdown closes connections whose handshake does not end.
	Handshake(raw net.Conn) (done func())
	// Track wraps the plaintext side of an accepted connection, on which no byte of HTTP/2
	// has passed yet. The server reads and writes the result instead.
	Track(nc net.Conn, auth credentials.AuthInfo) net.Conn
	// TrackHTTP1 counts a connection whose client speaks HTTP/1.1. The server calls the
	// result with each request and answer.
	TrackHTTP1(nc net.Conn, auth credentials.AuthInfo) *h1conn.Conn
	// DrainForStop drains the connections that are not draining yet, as GracefulStop of a gRPC
	// server does by itself. It returns once all GOAWAYs are on the wire or under way.
	DrainForStop(ctx context.Context)
}

// Membership has the methods for health to tell members of the Service from others. They take no
// lock.
type Membership interface {
	// IsMember reports whether a member has an address.
	IsMember(addr netip.Addr) bool
	// Members returns at how many addresses there are members.
	Members() int
}

// Health has the methods for health.
type Health interface {
	Membership

	// Seen notes that an RPC with this context was served and reports whether this Balancer
	// tracks its connection.
	Seen(ctx context.Context) bool
	// Ready reports whether the pod serves, which it does until Shutdown begins.
	Ready() bool
	// Closing returns a channel that is closed when Shutdown begins to stop the servers.
	Closing() <-chan struct{}
	// Report answers a peer's GET /peerz, with the counts of the hashed keys that it queries.
	Report(hashedKeys []string) peerz.Report
	// Starts takes a peer's announcement that it is starting.
	Starts(s peerz.Start)
	// CheckPeer returns why the other end of a connection may not ask /peerz, nil if it
	// may. state is nil without TLS.
	CheckPeer(state *tls.ConnectionState) error
	// PeersTLS is the configuration of peers.tls, nil without.
	PeersTLS() *tls.Config
	// SetHealthPort says on which port this pod answers, and so where its peers do.
	SetHealthPort(port int)
	// HealthFailed shows why a health endpoint does not serve on an address. A nil err clears
	// that.
	HealthFailed(addr string, err error)
}

// Of returns the inside of a *rebalance.Balancer. Package rebalance sets it.
var Of func(bal any) Balancer
