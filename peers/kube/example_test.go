package kube_test

import (
	"fmt"
	"log"
	"log/slog"

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
