// Command minimal is the smallest complete gRPC server that uses evenkeel. Its only
// services are health and reflection; register your own beside them.
//
// To run three pods on loopback, start it in three terminals, with N=1, N=2 and N=3:
//
//	POD_NAME=pod-$N POD_IP=127.0.1.$N go run ./example/minimal -config example/minimal/evenkeel.yaml \
//	    -grpc 127.0.1.$N:50051 -http 127.0.1.$N:8080
//
// Then open http://127.0.1.1:8080/, which shows all three.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

func main() {
	grpcAddr := flag.String("grpc", ":50051", "serve gRPC on this `address`")
	httpAddr := flag.String("http", ":8080", "serve the health endpoint on this `address`")
	configFile := flag.String("config", "evenkeel.yaml", "YAML `file` with settings; it is reloaded when it changes")
	flag.Parse()
	if err := run(*grpcAddr, *httpAddr, *configFile); err != nil {
		log.Fatal("minimal: ", err)
	}
}

func run(grpcAddr, httpAddr, configFile string) error {
	bal, err := rebalance.Load(config.Layers{File: configFile})
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", grpcAddr)
	if err != nil {
		return err
	}
	srv := grpc.NewServer(serveropts.Options(bal, insecure.NewCredentials())...) // plaintext
	health.Register(srv, bal)
	reflection.Register(srv)

	// ctx is done only after Shutdown: until then, peers and the kubelet must be able
	// to read on the health endpoint that this pod is stopping.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failed := make(chan error, 3)
	go func() { failed <- bal.Run(ctx) }()
	go func() { failed <- health.ListenAndServe(ctx, httpAddr, bal) }()
	go func() { failed <- srv.Serve(lis) }()

	sigterm, release := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer release()
	select {
	case err := <-failed:
		return err
	case <-sigterm.Done():
		release() // a second signal ends the process at once
		return bal.Shutdown(context.Background(), srv)
	}
}
