// Package inside is how serveropts and health reach what a Balancer has for them alone.
// These calls are not among the Balancer's own methods, since a user's server has no need of them.
package inside

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// Balancer is what the sibling packages ask of a *rebalance.Balancer.
type Balancer interface {
	Tracker
	Health
}

// Tracker is the part for serveropts.
type Tracker interface {
	// Handshake notes that a handshake begins on an accepted connection and returns what
	// ends it. Shutdown closes connections whose handshake does not end.
	Handshake(raw net.Conn) (done func())
	// Track wraps the plaintext side of an accepted connection, on which no byte of HTTP/2
	// has passed yet. The server reads and writes the result instead.
	Track(nc net.Conn, auth credentials.AuthInfo) net.Conn
}

// Health is the part for health.
type Health interface {
	// Seen notes that an RPC with this context was served and reports whether its
	// connection is tracked.
	Seen(ctx context.Context) bool
	// Ready reports whether the pod serves: until Shutdown begins.
	Ready() bool
	// Report answers a peer that asks GET /peerz for the hashed keys.
	Report(hashedKeys []string) peerz.Report
	// CheckPeer returns why the other end of a connection may not ask /peerz, nil if it
	// may. state is nil without TLS.
	CheckPeer(state *tls.ConnectionState) error
	// PeersTLS is the configuration of peers.tls, nil without.
	PeersTLS() *tls.Config
	// SetHealthPort says on which port this pod answers, and so where its peers do.
	SetHealthPort(port int)
	// HealthFailed says why a health endpoint does not serve on an address; nil: it does.
	HealthFailed(addr string, err error)
}

// Of returns the inside of a *rebalance.Balancer. Package rebalance sets it.
var Of func(bal any) Balancer
