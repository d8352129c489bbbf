package kube

import (
	"log/slog"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
)

// FromConfig returns the Source that cfg.Peers.Kubernetes describes; it fails as [New] does.
// A nil log discards. It is for rebalance.WithSource(config.SourceKubernetes, kube.FromConfig),
// which makes the source only if cfg.Peers.Source asks for it.
func FromConfig(cfg config.Config, log *slog.Logger) (peers.Source, error) {
	k := &cfg.Peers.Kubernetes
	s, err := New(Options{Namespace: k.Namespace, Service: k.Service, Kubeconfig: k.Kubeconfig, Logger: log})
	if err != nil {
		return nil, err // not s, which as an interface would not be nil
	}
	return s, nil
}
