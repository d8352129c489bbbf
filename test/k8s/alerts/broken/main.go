// Command broken is a server with a mistake in its code, for the alerts that no setting can
// cause. The chart runs it with the flags of the example server.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/health/metrics"
	"github.com/evenkeel-go/evenkeel/peers/kube"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// Values of -fault.
const (
	untracked = "untracked" // grpc.Creds stands after the options of evenkeel
	stuck     = "stuck"     // the function of WithShare blocks
)

// hangAfter is how long a stuck server is well, so that it is ready and has been scraped.
const hangAfter = 20 * time.Second

func main() {
	grpcAddr := flag.String("grpc", ":50051", "serve gRPC on this `address`")
	httpAddr := flag.String("http", ":8080", "serve the health endpoint on this `address`")
	configFile := flag.String("config", "", "YAML `file` with settings")
	fault := flag.String("fault", "", "the mistake: untracked or stuck; empty: none")
	flag.Parse()
	if err := run(*grpcAddr, *httpAddr, *configFile, *fault); err != nil {
		log.Fatal("broken: ", err)
	}
}

func run(grpcAddr, httpAddr, configFile, fault string) error {
	opts := []rebalance.Option{
		rebalance.WithLogger(slog.Default()), rebalance.WithSource(config.SourceKubernetes, kube.FromConfig),
	}
	if fault == stuck {
		opts = append(opts, rebalance.WithShare(hanging()))
	}
	bal, err := rebalance.Load(config.Layers{File: configFile}, opts...)
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", grpcAddr)
	if err != nil {
		return err
	}
	serverOpts := serveropts.Options(bal, insecure.NewCredentials())
	if fault == untracked {
		serverOpts = append(serverOpts, grpc.Creds(insecure.NewCredentials()))
	}
	srv := grpc.NewServer(serverOpts...)
	health.Register(srv, bal)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failed := make(chan error, 3)
	go func() { failed <- bal.Run(ctx) }()
	go func() { failed <- health.ListenAndServe(ctx, httpAddr, bal, health.WithMetrics(metrics.Handler(bal))) }()
	go func() { failed <- srv.Serve(lis) }()

	sigterm, release := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer release()
	select {
	case err := <-failed:
		return err
	case <-sigterm.Done():
		return bal.Shutdown(context.Background(), srv)
	}
}

// hanging returns a share that never comes back once the server has run for a while, such as one
// that waits for a lock.
func hanging() func() float64 {
	begun := time.Now()
	return func() float64 {
		if time.Since(begun) > hangAfter {
			select {}
		}
		return 1
	}
}
