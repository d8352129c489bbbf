// Command client is an ordinary grpc-go client of the hello service. Run it with
// -help.
package main

import (
	"os"

	"github.com/evenkeel-go/evenkeel/example/caller"
)

func main() { os.Exit(caller.Main(os.Args[1:], os.Stdout, os.Stderr)) }
