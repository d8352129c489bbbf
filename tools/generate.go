// Package tools pins the programs that generate code, and runs them:
//
//	cd tools && GOWORK=off go generate ./...
//
// The compiler and the plugins are Go packages, so nothing has to be installed, not even protoc.
package tools

//go:generate go tool protogen -in ../example/proto -out ../example/gen -gateway ../example/proto/hello/v1/gateway.yaml hello/v1/hello.proto
