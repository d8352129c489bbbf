// Command demo shows what evenkeel does, with real processes on loopback. Run it
// with -help.
package main

import (
	"os"

	"github.com/evenkeel-go/evenkeel/example/internal/demo"
)

func main() { os.Exit(demo.Main(os.Args[1:], os.Stdout, os.Stderr)) }
