package health_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func ExampleRegister() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := grpc.NewServer() // with serveropts.Options(bal, ...)
	statuses := health.Register(srv, bal)

	// The server as a whole is SERVING already; single services can have a word of
	// their own.
	statuses.SetServingStatus("hello.v1.HelloService", healthpb.HealthCheckResponse_SERVING)

	for name := range srv.GetServiceInfo() {
		fmt.Println(name)
	}
	// Output: grpc.health.v1.Health
}

// The health port outlives the gRPC server: its context ends last.
func ExampleListenAndServe() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- health.ListenAndServe(ctx, "127.0.0.1:0", bal) }()

	sigterm, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	go stop() // stands for the signal, so that this example ends
	<-sigterm.Done()
	// Here comes bal.Shutdown(ctx, srv): meanwhile /readyz answers 503.
	cancel()
	fmt.Println(<-done)
	// Output: <nil>
}

func ExampleServe() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- health.Serve(ctx, ln, bal) }()

	res, err := http.Get("http://" + ln.Addr().String() + "/livez")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = io.Copy(os.Stdout, res.Body)
	_ = res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	fmt.Println()
	fmt.Println(<-done)
	// Output:
	// ok
	// <nil>
}

func ExampleHandler() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux() // beside what the program serves already
	h := health.Handler(bal)
	mux.Handle("/evenkeel/", http.StripPrefix("/evenkeel", h))
	mux.Handle("/peerz", h) // where the other pods ask
	// Output:
}

func ExampleCollector() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	reg := prometheus.NewRegistry()
	fmt.Println(reg.Register(health.Collector(bal)))
	// Output: <nil>
}
