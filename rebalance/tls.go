package rebalance

import (
	"crypto/tls"
	"fmt"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/certs"
)

// prepareTLS reads the files of peers.tls, if they are set.
func (b *Balancer) prepareTLS(t *config.PeersTLS) error {
	if t.Cert == "" {
		return nil
	}
	store, err := certs.New(certs.Files{Cert: t.Cert, Key: t.Key, CA: t.CA}, t.ServerName, b.showTLS)
	if err != nil {
		return fmt.Errorf("rebalance: peers.tls: %w", err)
	}
	b.certs = store
	return nil
}

// validity returns when the certificate of peers.tls is valid, nil without one.
func (b *Balancer) validity() *Validity {
	if b.certs == nil {
		return nil
	}
	notBefore, notAfter := b.certs.Validity()
	return &Validity{notBefore, notAfter}
}

// showTLS shows what is wrong with the files of peers.tls, until they are good again.
func (b *Balancer) showTLS(problem string) {
	b.conds.set(peersTLS, onlyIf(problem != "",
		"the changed files of peers.tls cannot be used, so the previous certificates stay in force; fix the files: "+problem))
}

// peersTLS returns the configuration with which the health endpoint serves, nil for plain
// HTTP. It requests a client certificate and also serves clients without one: checkPeer
// judges them. Changed files take effect with the next handshake.
func (b *Balancer) peersTLS() *tls.Config {
	if b.certs == nil {
		return nil
	}
	return b.certs.Server()
}

// checkPeer returns nil if the other end of a connection may read /peerz, otherwise the
// reason. It may if peers.tls is not set, or if its CA has signed the client's certificate.
func (b *Balancer) checkPeer(state *tls.ConnectionState) error {
	if b.certs == nil {
		return nil
	}
	return b.certs.CheckClient(state)
}
