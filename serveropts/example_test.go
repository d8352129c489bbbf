package serveropts_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
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

// A web server with the Balancer of a gRPC server, on a port of its own.
func ExampleHTTPServer() {
	bal, _ := rebalance.Load(config.Layers{}, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		rebalance.SetKey(r.Context(), "the client's name") // if an address does not tell clients apart
		_, _ = io.WriteString(w, "hello")
	})
	web := serveropts.HTTPServer(bal, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = web.Serve(lis) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + lis.Addr().String() + "/hello")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = io.Copy(io.Discard, res.Body) // otherwise the client would close its connection
	_ = res.Body.Close()
	fmt.Println(res.Status, bal.Status().Connections)
	_ = bal.Shutdown(context.Background(), web) // with the gRPC servers, if there are any
	// Output: 200 OK 1
}

// webServer returns a server for the examples.
func webServer() *serveropts.WebServer {
	bal, _ := rebalance.Load(config.Layers{}, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	return serveropts.HTTPServer(bal, &http.Server{Addr: "127.0.0.1:0", ReadHeaderTimeout: 5 * time.Second})
}

// Serve takes any listener.
func ExampleWebServer_Serve() {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	web := webServer()
	time.AfterFunc(10*time.Millisecond, web.Stop)
	fmt.Println(errors.Is(web.Serve(lis), http.ErrServerClosed))
	// Output: true
}

// ServeTLS needs a certificate, in files or in the TLSConfig of the http.Server.
func ExampleWebServer_ServeTLS() {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(webServer().ServeTLS(lis, "no/tls.crt", "no/tls.key") != nil)
	// Output: true
}

// ListenAndServe takes the address of the http.Server.
func ExampleWebServer_ListenAndServe() {
	web := webServer()
	time.AfterFunc(10*time.Millisecond, web.Stop)
	fmt.Println(errors.Is(web.ListenAndServe(), http.ErrServerClosed))
	// Output: true
}

// ListenAndServeTLS does so with TLS.
func ExampleWebServer_ListenAndServeTLS() {
	fmt.Println(webServer().ListenAndServeTLS("no/tls.crt", "no/tls.key") != nil)
	// Output: true
}

// GracefulStop is what Balancer.Shutdown calls once clients have been sent elsewhere.
func ExampleWebServer_GracefulStop() {
	web := webServer()
	web.GracefulStop()
	fmt.Println(web.ListenAndServe())
	// Output: http: Server closed
}

// Stop is what Balancer.Shutdown calls when the time is over.
func ExampleWebServer_Stop() {
	web := webServer()
	web.Stop()
	fmt.Println(web.ListenAndServe())
	// Output: http: Server closed
}

// A gateway in the process of its server calls it through a listener in memory. That is no client
// to count or to drain.
func ExampleInProcess() {
	bal, _ := rebalance.Load(config.Layers{}, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	srv := grpc.NewServer(serveropts.Options(bal, insecure.NewCredentials())...)
	defer srv.Stop()
	health.Register(srv, bal)
	inner := serveropts.NewInProcess()
	go func() { _ = srv.Serve(inner) }()
	conn, err := grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(inner.DialContext), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	res, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	fmt.Println(res.GetStatus(), err, bal.Status().Connections, len(bal.Status().Conditions))
	// Output: SERVING <nil> 0 0
}

// The listener is closed with its server.
func ExampleNewInProcess() {
	inner := serveropts.NewInProcess()
	fmt.Println(inner.Addr(), inner.Close())
	// Output: in-process <nil>
}

// Accept is for the server.
func ExampleInProcess_Accept() {
	inner := serveropts.NewInProcess()
	go func() { _, _ = inner.DialContext(context.Background(), "") }()
	nc, err := inner.Accept()
	fmt.Println(nc.RemoteAddr(), err)
	// Output: in-process <nil>
}

// Close ends Accept.
func ExampleInProcess_Close() {
	inner := serveropts.NewInProcess()
	_ = inner.Close()
	_, err := inner.Accept()
	fmt.Println(err)
	// Output: closed
}

// Addr has no port.
func ExampleInProcess_Addr() {
	fmt.Println(serveropts.NewInProcess().Addr().Network())
	// Output: in-process
}

// DialContext goes to grpc.WithContextDialer.
func ExampleInProcess_DialContext() {
	inner := serveropts.NewInProcess()
	_ = inner.Close()
	_, err := inner.DialContext(context.Background(), "")
	fmt.Println(err)
	// Output: closed
}
