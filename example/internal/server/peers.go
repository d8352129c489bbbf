package server

import (
	"fmt"
	"log/slog"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/rebalance/peers/dns"
	"github.com/evenkeel-go/evenkeel/rebalance/peers/kube"
	"github.com/evenkeel-go/evenkeel/rebalance/peers/static"
)

// peersFrom returns the source that cfg names, nil for none.
func peersFrom(cfg *rebalance.PeersConfig, log *slog.Logger) (rebalance.Source, error) {
	switch cfg.Source {
	case rebalance.PeersNone:
		return nil, nil //nolint:nilnil // no source is what was asked for
	case rebalance.PeersStatic:
		return static.New(cfg.Static)
	case rebalance.PeersDNS:
		return dns.New(dns.Options{Name: cfg.DNS.Name, Server: cfg.DNS.Server, Interval: cfg.DNS.Interval, Logger: log})
	case rebalance.PeersKubernetes:
		return kube.New(kube.Options{
			Namespace: cfg.Kubernetes.Namespace, Service: cfg.Kubernetes.Service,
			Kubeconfig: cfg.Kubernetes.Kubeconfig, Logger: log,
		})
	}
	return nil, fmt.Errorf("peers.source: %q is not built into this server", cfg.Source)
}
