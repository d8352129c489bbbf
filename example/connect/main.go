// Command connect is a connect-go server that uses evenkeel. It serves the Connect, gRPC and
// gRPC-Web protocols on one port, over HTTP/1.1 and unencrypted HTTP/2. Long streams end
// politely after a drain.
//
// To run three pods on loopback, start it in three terminals, with N=1, N=2 and N=3:
//
//	POD_NAME=pod-$N POD_IP=127.0.1.$N go run ./example/connect -config example/minimal/evenkeel.yaml \
//	    -listen 127.0.1.$N:50051 -http 127.0.1.$N:8080
//
// And call one of them:
//
//	curl --json '{"toWho": "you"}' http://127.0.1.1:50051/hello.v1.HelloService/Hi
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

func main() {
	addr := flag.String("listen", ":50051", "serve on this `address`")
	httpAddr := flag.String("http", ":8080", "serve the health endpoint on this `address`")
	configFile := flag.String("config", "evenkeel.yaml", "YAML `file` with settings; it is reloaded when it changes")
	flag.Parse()
	if err := run(*addr, *httpAddr, *configFile); err != nil {
		log.Fatal("connect: ", err)
	}
}

func run(addr, httpAddr, configFile string) error {
	bal, err := rebalance.Load(config.Layers{File: configFile})
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	web := newServer(bal, os.Getenv("POD_NAME"))

	// ctx is done only after Shutdown: until then, peers and the kubelet must be able
	// to read on the health endpoint that this pod is stopping.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failed := make(chan error, 3)
	go func() { failed <- bal.Run(ctx) }()
	go func() { failed <- health.ListenAndServe(ctx, httpAddr, bal) }()
	go func() { failed <- web.Serve(lis) }()

	sigterm, release := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer release()
	select {
	case err := <-failed:
		return err
	case <-sigterm.Done():
		release() // a second signal ends the process at once
		return bal.Shutdown(context.Background(), web)
	}
}

// newServer is the part in which a connect-go server differs from one of grpc-go.
func newServer(bal *rebalance.Balancer, pod string) *serveropts.WebServer {
	polite := connect.WithInterceptors(politeStreams{wait: 5 * time.Second, retryIn: time.Second})
	mux := http.NewServeMux()
	for path, h := range handlers(pod, polite) {
		mux.Handle(path, h)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true) // gRPC clients without TLS
	return serveropts.HTTPServer(bal, srv)
}

// handlers are what protoc-gen-connect-go would generate the registration of.
func handlers(pod string, opts ...connect.HandlerOption) map[string]http.Handler {
	const service = "/hello.v1.HelloService/"
	hi := func(_ context.Context, req *connect.Request[hellov1.HiRequest]) (*connect.Response[hellov1.HiResponse], error) {
		return connect.NewResponse(&hellov1.HiResponse{Pod: pod, FromWho: req.Msg.GetToWho(), Message: req.Msg.GetMessage()}), nil
	}
	watch := func(ctx context.Context, _ *connect.Request[hellov1.HiRequest], stream *connect.ServerStream[hellov1.HiResponse]) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if err := stream.Send(&hellov1.HiResponse{Pod: pod}); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	chat := func(_ context.Context, stream *connect.BidiStream[hellov1.HiRequest, hellov1.HiResponse]) error {
		for {
			req, err := stream.Receive()
			if err != nil {
				return endOf(err)
			}
			if err := stream.Send(&hellov1.HiResponse{Pod: pod, Message: req.GetMessage()}); err != nil {
				return err
			}
		}
	}
	return map[string]http.Handler{
		service + "Hi":    connect.NewUnaryHandler(service+"Hi", hi, opts...),
		service + "Watch": connect.NewServerStreamHandler(service+"Watch", watch, opts...),
		service + "Chat":  connect.NewBidiStreamHandler(service+"Chat", chat, opts...),
	}
}
