// Package plain is an ordinary grpc-go server with nothing of evenkeel in it. The demo
// puts the sidecar before it.
package plain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// Exit statuses of Main.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// Main serves on args[0] as the pod args[1], until SIGTERM or SIGINT. It returns the exit
// status.
func Main(args []string, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(stderr, "want an address and the name of the pod")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := serve(ctx, args[0], args[1]); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFail
	}
	return exitOK
}

// serve serves until ctx is done, and lets RPCs in flight finish.
func serve(ctx context.Context, addr, pod string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	srv := grpc.NewServer()
	hellov1.RegisterHelloServiceServer(srv, &hello{pod: pod})
	context.AfterFunc(ctx, srv.GracefulStop)
	return srv.Serve(ln)
}

// hello implements hello.v1.HelloService.
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
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := stream.Send(h.answer(req)); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-tick.C:
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
