package rebalance

import (
	"crypto/tls"
	"fmt"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/certs"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// preparePeers takes up how pods talk to each other.
func (b *Balancer) preparePeers(cfg *config.Config) error {
	p, t := &b.peers, &cfg.Peers.TLS
	p.hasher = peerz.NewHasher(cfg.Peers.Salt)
	p.poller.Client = &p.client
	if t.Cert == "" {
		return nil
	}
	store, err := certs.New(certs.Files{Cert: t.Cert, Key: t.Key, CA: t.CA}, t.ServerName, b.showTLS)
	if err != nil {
		return fmt.Errorf("rebalance: peers.tls: %w", err)
	}
	p.certs, p.client.TLS = store, store.Client
	return nil
}

// showTLS shows what is wrong with the files of peers.tls, until it is mended.
func (b *Balancer) showTLS(problem string) {
	b.SetCondition("peers-tls", Warning, onlyIf(problem != "",
		"the certificates that were last good stay in force between pods, mend the files of peers.tls: "+problem))
}

// PeersTLS returns the configuration with which the health endpoint serves, as peers.tls
// has it; nil without: plain HTTP. health.Serve takes it by itself; it is for those
// who serve health.Handler on a server of theirs. It asks for a client certificate and
// takes any, and none: CheckPeer judges it. Changed files count with the next
// handshake.
func (b *Balancer) peersTLS() *tls.Config {
	if b.peers.certs == nil {
		return nil
	}
	return b.peers.certs.Server()
}

// CheckPeer tells, by the state of its connection (nil: without TLS), whether one may ask
// for /peerz: nil if peers.tls is not set or its CA has signed the client's
// certificate, else an error that says what is wrong. health.Handler calls it for each
// question.
func (b *Balancer) checkPeer(state *tls.ConnectionState) error {
	if b.peers.certs == nil {
		return nil
	}
	return b.peers.certs.CheckClient(state)
}
