package serveropts_test

import (
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// A server with TLS hands its credentials over.
func ExampleOptions() {
	bal, err := rebalance.Load(config.Layers{}, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	creds, err := credentials.NewServerTLSFromFile("tls.crt", "tls.key")
	if err != nil {
		creds = insecure.NewCredentials() // plaintext is asked for by name
	}
	srv := grpc.NewServer(serveropts.Options(bal, creds)...)
	defer srv.Stop()
	fmt.Println(len(srv.GetServiceInfo()))
	// Output: 0
}

// The server's own options stand beside evenkeel's, in any order; its keepalive stays in force.
func ExampleOptions_beside() {
	bal, _ := rebalance.Load(config.Layers{}, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	opts := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(100),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute}),
	}
	opts = append(opts, serveropts.Options(bal, insecure.NewCredentials())...)
	srv := grpc.NewServer(opts...)
	defer srv.Stop()
	fmt.Println(len(opts))
	// Output: 3
}

// A server that takes its credentials elsewhere, as xds.NewGRPCServer does.
func ExampleTransportCredentials() {
	bal, _ := rebalance.Load(config.Layers{}, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	creds := serveropts.TransportCredentials(bal, insecure.NewCredentials())
	fmt.Println(creds.Info().SecurityProtocol, serveropts.TransportCredentials(bal, creds) == creds)
	// Output: insecure true
}

// What policy.keepaliveTime comes to.
func ExampleServerParameters() {
	fmt.Println(serveropts.ServerParameters(config.Policy{KeepaliveTime: time.Minute}).Time)
	// Output: 1m0s
}

// What policy.minClientPing comes to.
func ExampleEnforcementPolicy() {
	fmt.Println(serveropts.EnforcementPolicy(config.Policy{MinClientPing: 5 * time.Second}).MinTime)
	// Output: 5s
}
