package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// order is what a client wants from a handler.
type order struct {
	answers int           // of a server stream
	size    int           // of each of these answers, in bytes
	wait    time.Duration // before each answer
	drain   bool          // the handler drains its connection
}

// String and parseOrder are each other's inverse. The zero order is the empty string.
func (o order) String() string {
	if o == (order{}) {
		return ""
	}
	return fmt.Sprintf("%d %d %d %t", o.answers, o.size, o.wait, o.drain)
}

func parseOrder(text string) (o order, err error) {
	if text != "" {
		_, err = fmt.Sscanf(text, "%d %d %d %t", &o.answers, &o.size, &o.wait, &o.drain)
	}
	return o, err
}

// service executes RPCs and records each by its ID, which is the request's to_who.
type service struct {
	hellov1.UnimplementedHelloServiceServer
	ledger *ledger
}

// begin records the RPC and carries out the part of its order that comes first.
func (s *service) begin(ctx context.Context, req *hellov1.HiRequest) (order, error) {
	id, err := strconv.ParseUint(req.GetToWho(), 10, 64)
	if err != nil || !s.ledger.execute(id) {
		return order{}, status.Errorf(codes.InvalidArgument, "%q is no ID of this run", req.GetToWho())
	}
	o, err := parseOrder(req.GetMessage())
	if err != nil {
		return o, status.Errorf(codes.InvalidArgument, "%q is no order: %v", req.GetMessage(), err)
	}
	if o.drain {
		rebalance.Drain(ctx)
	}
	return o, nil
}

func (s *service) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	o, err := s.begin(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, o.wait); err != nil {
		return nil, err
	}
	return &hellov1.HiResponse{FromWho: req.GetToWho()}, nil
}

// Watch numbers its answers, so that the client notices one that is missing.
func (s *service) Watch(req *hellov1.HiRequest, stream grpc.ServerStreamingServer[hellov1.HiResponse]) error {
	o, err := s.begin(stream.Context(), req)
	if err != nil {
		return err
	}
	pad := strings.Repeat("x", o.size)
	for i := range o.answers {
		if err := wait(stream.Context(), o.wait); err != nil {
			return err
		}
		if err := stream.Send(&hellov1.HiResponse{FromWho: req.GetToWho(), Message: strconv.Itoa(i), Pod: pad}); err != nil {
			return err
		}
	}
	return nil
}

// Chat echoes each request. The first one carries the order.
func (s *service) Chat(stream grpc.BidiStreamingServer[hellov1.HiRequest, hellov1.HiResponse]) error {
	var o order
	for first := true; ; first = false {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if first {
			if o, err = s.begin(stream.Context(), req); err != nil {
				return err
			}
		}
		if err := wait(stream.Context(), o.wait); err != nil {
			return err
		}
		if err := stream.Send(&hellov1.HiResponse{FromWho: req.GetToWho(), Message: req.GetMessage()}); err != nil {
			return err
		}
	}
}

// wait waits for d, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
