package health

import (
	"context"
	"crypto/tls"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// source is what this package needs of a [rebalance.Balancer].
type source interface {
	Status() rebalance.Status
	Report(hashedKeys []string) peerz.Report
	Ready() bool
	Stopping() <-chan struct{}
	SetHealthPort(port int)
	Seen(ctx context.Context) bool
	PeersTLS() *tls.Config
	CheckPeer(state *tls.ConnectionState) error
}

var _ source = (*rebalance.Balancer)(nil)

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
