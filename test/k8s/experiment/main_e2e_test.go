//go:build e2e

package experiment

import (
	"os"
	"testing"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// Images of the clients. The first is a plain client that also prints when it queries DNS, the
// second has kuberesolver.
const (
	loadTag         = "e2e.local/experiment-load:dev"
	kuberesolverTag = "e2e.local/experiment-kuberesolver:dev"
)

func TestMain(m *testing.M) {
	cluster.Images = append(cluster.Images,
		cluster.Image{Tag: loadTag, Module: "test/k8s", Package: "./experiment/load", Program: "load"},
		cluster.Image{Tag: kuberesolverTag, Module: "test/k8s", Package: "./experiment/kuberesolver", Program: "kuberesolver"},
	)
	os.Exit(cluster.Main(m))
}
