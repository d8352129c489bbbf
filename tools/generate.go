// Package tools pins the programs that generate code, and runs them:
//
//	cd tools && GOWORK=off go generate ./...
//
// The compiler is a Go package and so are the plugins: neither protoc nor anything
// else has to be installed.
package tools

//go:generate go tool protogen -in ../example/proto -out ../example/gen -gateway ../example/proto/hello/v1/gateway.yaml hello/v1/hello.proto
