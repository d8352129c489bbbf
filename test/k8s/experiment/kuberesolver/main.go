// Command kuberesolver is the example's client with kuberesolver registered, a solution that
// changes every client. Its target is kubernetes:///SERVICE.NAMESPACE:PORT.
package main

import (
	"os"

	"github.com/sercand/kuberesolver/v6"

	"github.com/evenkeel-go/evenkeel/example/caller"
)

func main() {
	kuberesolver.RegisterInCluster()
	os.Exit(caller.Main(os.Args[1:], os.Stdout, os.Stderr))
}
