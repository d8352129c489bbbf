package health

import (
	"crypto/tls"

	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// source is what this package needs of a [rebalance.Balancer].
type source interface {
	inside.Health
	Status() rebalance.Status
	Stopping() <-chan struct{}
}

// balancer is a Balancer as a source.
type balancer struct {
	inside.Health

	bal *rebalance.Balancer
}

func sourceOf(bal *rebalance.Balancer) source { return balancer{inside.Of(bal), bal} }

func (b balancer) Status() rebalance.Status  { return b.bal.Status() }
func (b balancer) Stopping() <-chan struct{} { return b.bal.Stopping() }

// TLSConfig returns the configuration with which the health endpoint must serve under
// peers.tls, nil without. [Serve] uses it by itself; it is for who serves [Handler] on a
// server of their own. It asks clients for a certificate and lets in those without one:
// [Handler] refuses /peerz to them. Changed files take effect with the next handshake.
func TLSConfig(bal *rebalance.Balancer) *tls.Config { return inside.Of(bal).PeersTLS() }

// stopping reports whether the lame duck has begun. Either sign will do: which
// of the two a Balancer sets first is its own affair.
func stopping(src source) bool {
	select {
	case <-src.Stopping():
		return true
	default:
		return !src.Ready()
	}
}
