package kube

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/evenkeel-go/evenkeel/config"
)

func TestFromConfig(t *testing.T) {
	file := kubeconfig(t, "http://127.0.0.1:1")
	cfg := config.Default()
	cfg.Peers.Kubernetes = config.PeersKubernetes{Namespace: "shop", Service: "hello", Kubeconfig: file}
	log := slog.New(slog.DiscardHandler)
	src, err := FromConfig(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	want := Options{Namespace: "shop", Service: "hello", Kubeconfig: file, Logger: log}
	if got := src.(*Source).opts; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A source that cannot be made is a nil interface, not an interface with a nil pointer.
func TestFromConfigFailsAsNewDoes(t *testing.T) {
	src, err := FromConfig(config.Default(), nil)
	if src != nil || err == nil || !strings.Contains(err.Error(), "peers.kubernetes.service") {
		t.Errorf("got %v, %v; want nil and an error that names the key", src, err)
	}
}
