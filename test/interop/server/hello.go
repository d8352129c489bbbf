package main

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// hello is the service. Its handlers obey the contexts of their calls, as in a real service. A
// call that loses its connection so ends at once and is noticed.
type hello struct {
	hellov1.UnimplementedHelloServiceServer
	name string
	// work is how long a unary call takes, pace how long each message of Chat, and period is the time
	// between the messages of Watch.
	work, pace, period time.Duration
	// served is the number of calls that reached a handler.
	served *atomic.Int64
}

func newHello(f flags, name string, st *state) *hello {
	return &hello{name: name, work: f.work, pace: f.chatPace, period: f.watchPeriod, served: &st.served}
}

func (h *hello) answer(req *hellov1.HiRequest) *hellov1.HiResponse {
	return &hellov1.HiResponse{FromWho: req.GetToWho(), Message: req.GetMessage(), Pod: h.name}
}

// Hi takes a moment, so that a GOAWAY always meets calls in flight.
func (h *hello) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	h.served.Add(1)
	if err := pause(ctx, h.work); err != nil {
		return nil, err
	}
	return h.answer(req), nil
}

func (h *hello) Watch(req *hellov1.HiRequest, s grpc.ServerStreamingServer[hellov1.HiResponse]) error {
	h.served.Add(1)
	for {
		if err := s.Send(h.answer(req)); err != nil {
			return err
		}
		if err := pause(s.Context(), h.period); err != nil {
			return err
		}
	}
}

func (h *hello) Chat(s grpc.BidiStreamingServer[hellov1.HiRequest, hellov1.HiResponse]) error {
	h.served.Add(1)
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := pause(s.Context(), h.pace); err != nil {
			return err
		}
		if err := s.Send(h.answer(req)); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
