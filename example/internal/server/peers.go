package server

import (
	"fmt"
	"log/slog"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/peers/dns"
	"github.com/evenkeel-go/evenkeel/peers/kube"
	"github.com/evenkeel-go/evenkeel/peers/static"
)

// peersFrom returns the source that cfg names, nil for none.
func peersFrom(cfg *config.Peers, log *slog.Logger) (peers.Source, error) {
	switch cfg.Source {
	case config.SourceNone:
		return nil, nil //nolint:nilnil // no source is what was asked for
	case config.SourceStatic:
		return static.New(cfg.Static)
	case config.SourceDNS:
		return dns.New(dns.Options{Name: cfg.DNS.Name, Server: cfg.DNS.Server, Interval: cfg.DNS.Interval, Logger: log})
	case config.SourceKubernetes:
		return kube.New(kube.Options{
			Namespace: cfg.Kubernetes.Namespace, Service: cfg.Kubernetes.Service,
			Kubeconfig: cfg.Kubernetes.Kubeconfig, Logger: log,
		})
	}
	return nil, fmt.Errorf("peers.source: %q is not built into this server", cfg.Source)
}
