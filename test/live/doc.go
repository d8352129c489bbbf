// Package live tests the rules with real server processes on loopback and ordinary grpc-go
// clients: pods that are taken out of the Service, that crash, or that are probed. README.md has
// its figures.
package live
