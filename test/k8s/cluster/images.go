//go:build linux

package cluster

// Image is the image of a static Go program. It is built, packed and loaded when a cluster
// comes up. Pods refer to it by Tag, with imagePullPolicy Never or IfNotPresent.
type Image struct {
	// Tag is NAME:TAG.
	Tag string
	// Module is the folder of its go.mod, below the root of the repository.
	Module string
	// Package is the program's package, below Module.
	Package string
	// Program is the name of the binary in the image, which is also the entrypoint.
	Program string
}

const (
	pauseTag   = "e2e.local/pause:dev"
	corednsTag = "e2e.local/coredns:dev"
	// ServerTag is the example server. Charts take it as ServerRepository and ImageTag.
	ServerTag = ServerRepository + ":" + ImageTag
	// ServerRepository is the part of ServerTag before the colon.
	ServerRepository = "e2e.local/example-server"
	// ImageTag is the part of ServerTag after the colon.
	ImageTag = "dev"
	// SidecarTag is the sidecar. Charts take it as SidecarRepository and ImageTag.
	SidecarTag = SidecarRepository + ":" + ImageTag
	// SidecarRepository is the part of SidecarTag before the colon.
	SidecarRepository = "e2e.local/evenkeel-sidecar"
	// ClientTag is the example client, which is plain grpc-go. See Load.
	ClientTag = "e2e.local/example-client:dev"
)

// Images are loaded into every full cluster. A test that needs another image appends it.
var Images = []Image{
	{Tag: pauseTag, Module: "test/k8s", Package: "./pause", Program: "pause"},
	{Tag: corednsTag, Module: "test/k8s/coredns", Package: ".", Program: "coredns"},
	{Tag: ServerTag, Module: "example", Package: "./server", Program: "server"},
	{Tag: SidecarTag, Module: "cmd/evenkeel-sidecar", Package: ".", Program: "evenkeel-sidecar"},
	{Tag: ClientTag, Module: "example", Package: "./client", Program: "client"},
}
