// Command evenkeel-sidecar keeps the connections of a gRPC server even across its pods, whatever
// language the server is written in. It stands in front of the server in the same pod and passes
// bytes on. Run it with -help.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
