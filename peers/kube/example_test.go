package kube_test

import (
	"fmt"
	"log"
	"log/slog"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers/kube"
)

// The example does not run the source, which needs an API server. New itself needs none, so
// a pod can start while the API server is away.
func ExampleNew() {
	source, err := kube.New(kube.Options{
		Namespace: "shop",
		Service:   "hello-headless",
		Logger:    slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(source)
	// Output: kubernetes shop/hello-headless
}

// A program hands FromConfig to its Balancer, which calls it if the configuration asks for
// this source.
func ExampleFromConfig() {
	cfg := config.Default()
	cfg.Peers.Source = config.SourceKubernetes
	cfg.Peers.Kubernetes.Namespace = "shop"
	cfg.Peers.Kubernetes.Service = "hello"
	source, err := kube.FromConfig(cfg, slog.Default())
	fmt.Println(source, err)
	// Output: kubernetes shop/hello <nil>
}
