package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// barePod is a server without evenkeel, to compare with. MaxConnectionAge ends its connections.
type barePod struct {
	srv        *grpc.Server
	grpc, http net.Listener
	accepted   atomic.Int64
}

func newBarePod(f flags, name, addr string, st *state) (*barePod, error) {
	opts := []grpc.ServerOption{grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: f.every})}
	if f.maxStreams > 0 {
		opts = append(opts, grpc.MaxConcurrentStreams(uint32(f.maxStreams)))
	}
	p := &barePod{srv: grpc.NewServer(opts...)}
	hellov1.RegisterHelloServiceServer(p.srv, newHello(f, name, st))
	var err error
	p.grpc, p.http, err = listen(addr, f.httpPort)
	return p, err
}

// serve runs the server until ctx is done. By then the client has exited, so no call is left.
func (p *barePod) serve(ctx context.Context, st *state) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /statusz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"opened": %d}`, p.accepted.Load())
	})
	mux.HandleFunc("GET /served", st.showServed)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout}
	var wg sync.WaitGroup
	wg.Go(func() { logError("grpc", p.srv.Serve(counted{p.grpc, &p.accepted})) })
	wg.Go(func() { logError("http", web.Serve(p.http)) })
	<-ctx.Done()
	p.srv.Stop()
	logError("http close", web.Close())
	wg.Wait()
}

// runBare runs the servers until ctx is done.
func runBare(ctx context.Context, f flags, addrs []string) error {
	var ready Ready
	var st state
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, addr := range addrs {
		p, err := newBarePod(f, f.podName(i), addr, &st)
		if err != nil {
			return err
		}
		ready.add(p.grpc, p.http)
		wg.Go(func() { p.serve(ctx, &st) })
	}
	if err := ready.print(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// counted counts the connections that it accepts.
type counted struct {
	net.Listener
	n *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}
