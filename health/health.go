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
// peers.tls, or nil if peers.tls is not set. [Serve] uses it by itself; you need it only to
// serve [Handler] on a server of your own.
//
// The configuration requests a client certificate and accepts clients without one, since
// kubelets have none; [Handler] refuses /peerz to those. Changed files take effect with the
// next handshake.
func TLSConfig(bal *rebalance.Balancer) *tls.Config { return inside.Of(bal).PeersTLS() }

// stopping reports whether the lame duck has begun. Either sign will do: the order in
// which a Balancer sets them is its own affair.
func stopping(src source) bool {
	select {
	case <-src.Stopping():
		return true
	default:
		return !src.Ready()
	}
}
