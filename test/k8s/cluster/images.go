//go:build linux

package cluster

// Image of a static Go program, built and packed when a cluster comes up, and loaded
// into it. Pods name it by Tag, with imagePullPolicy Never or IfNotPresent.
type Image struct {
	// Tag is NAME:TAG.
	Tag string
	// Module is the folder of its go.mod, below the root of the repository.
	Module string
	// Package of the program, below Module.
	Package string
	// Program is what the binary is called in the image, and the entrypoint.
	Program string
}

const (
	pauseTag   = "e2e.local/pause:dev"
	corednsTag = "e2e.local/coredns:dev"
	// ServerTag is the example server, also for charts: repository and tag are
	// ServerRepository and ImageTag.
	ServerTag = ServerRepository + ":" + ImageTag
	// ServerRepository is the part of ServerTag before the colon.
	ServerRepository = "e2e.local/example-server"
	// ImageTag is the part behind it.
	ImageTag = "dev"
	// ClientTag is the example client: ordinary grpc-go, see Load.
	ClientTag = "e2e.local/example-client:dev"
)

// Images that every full cluster has. A test that needs another one adds a line.
var Images = []Image{
	{Tag: pauseTag, Module: "test/k8s", Package: "./pause", Program: "pause"},
	{Tag: corednsTag, Module: "test/k8s/coredns", Package: ".", Program: "coredns"},
	{Tag: ServerTag, Module: "example", Package: "./server", Program: "server"},
	{Tag: ClientTag, Module: "example", Package: "./client", Program: "client"},
}
