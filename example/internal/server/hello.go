package server

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// hello implements hello.v1.HelloService.
type hello struct {
	hellov1.UnimplementedHelloServiceServer

	pod string
	// stopping is closed when this pod starts to stop.
	stopping <-chan struct{}
}

// errStopping ends a long stream on a pod that is stopping. Clients retry on
// UNAVAILABLE: they open the stream again, on another pod.
var errStopping = status.Error(codes.Unavailable, "this pod is stopping, open the stream again")

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
	stop := h.drainedByStop(stream.Context())
	for {
		if err := stream.Send(h.answer(req)); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-stop:
			return errStopping
		case <-tick.C:
		}
	}
}

// Chat answers each message as it arrives.
func (h *hello) Chat(stream hellov1.HelloService_ChatServer) error {
	done := make(chan error, 1)
	go func() { done <- h.echo(stream) }()
	select {
	case err := <-done:
		return err
	case <-h.drainedByStop(stream.Context()):
		// Returning ends the stream's context, and that ends echo.
		return errStopping
	}
}

func (h *hello) echo(stream hellov1.HelloService_ChatServer) error {
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

// drainedByStop returns a channel that is closed once this pod is stopping and the
// stream's connection is draining. A connection that is drained for balance keeps its
// streams: RPCs in flight finish where they are.
func (h *hello) drainedByStop(ctx context.Context) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		for _, wait := range []<-chan struct{}{h.stopping, rebalance.Draining(ctx)} {
			select {
			case <-ctx.Done():
				return
			case <-wait:
			}
		}
		close(out)
	}()
	return out
}
