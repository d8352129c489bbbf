// Command server is the hello server of the example: gRPC, optionally HTTP/JSON
// through grpc-gateway, and evenkeel. Run it with -help.
package main

import (
	"os"

	"github.com/evenkeel-go/evenkeel/example/internal/server"
)

func main() { os.Exit(server.Main(os.Args[1:], os.Stdout, os.Stderr)) }
