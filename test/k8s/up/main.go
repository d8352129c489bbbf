//go:build linux

// Command up brings a cluster up for use by hand, prints how to reach it, and takes it down on
// Ctrl-C:
//
//	GOWORK=off go run ./up [-level api]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

func main() {
	level := flag.String("level", "full", "full, or api for etcd and the API server only")
	buildOnly := flag.Bool("build", false, "build everything and start nothing")
	flag.Parse()
	if err := run(*level == "api", *buildOnly); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

func run(apiOnly, buildOnly bool) error {
	opts := cluster.Options{}
	if apiOnly {
		opts.Level = cluster.APIOnly
	}
	if buildOnly {
		return cluster.Build(opts.Level, nil)
	}
	if err := cluster.Missing(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	c, err := cluster.New(opts)
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s PATH=%s:$PATH\n", c.Kubeconfig(), c.Bin())
	<-signals
	return c.Close(false)
}
