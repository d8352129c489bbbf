// Command server is an ordinary grpc-go server with nothing of evenkeel in it.
//
//	server ADDRESS POD
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

type hello struct {
	hellov1.UnimplementedHelloServiceServer
	pod string
}

func (h *hello) answer(req *hellov1.HiRequest) *hellov1.HiResponse {
	return &hellov1.HiResponse{FromWho: req.GetToWho(), Message: req.GetMessage(), Pod: h.pod}
}

// Hi answers once.
func (h *hello) Hi(_ context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	return h.answer(req), nil
}

// Watch answers at once, and then every second.
func (h *hello) Watch(req *hellov1.HiRequest, stream hellov1.HelloService_WatchServer) error {
	for {
		if err := stream.Send(h.answer(req)); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-time.After(time.Second):
		}
	}
}

// Chat answers each message as it arrives.
func (h *hello) Chat(stream hellov1.HelloService_ChatServer) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(h.answer(req)); err != nil {
			return err
		}
	}
}

func main() {
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve serves until SIGTERM.
func serve(addr, pod string) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	srv := grpc.NewServer()
	hellov1.RegisterHelloServiceServer(srv, &hello{pod: pod})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		srv.GracefulStop()
	}()
	return srv.Serve(ln)
}
