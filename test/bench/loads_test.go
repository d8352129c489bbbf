package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// load is one kind of traffic.
type load struct {
	name  string
	block int // the number of operations that take about a millisecond
	// run does n operations.
	run func(ctx context.Context, c hellov1.HelloServiceClient, n int) error
}

func loads() []load {
	return []load{
		{"Unary", 20, unary},
		{"UnaryParallel", 64, unaryParallel},
		{"ServerStreamMessage", 500, serverStream},
		{"BidiMessage", 50, bidi},
		{"BidiRPC", 10, bidiRPCs},
	}
}

// findLoad returns the load of one benchmark.
func findLoad(name string) load {
	for _, l := range loads() {
		if l.name == name {
			return l
		}
	}
	panic("no load " + name)
}

func request() *hellov1.HiRequest {
	return &hellov1.HiRequest{ToWho: "somebody", Message: "a small message"}
}

// unary makes n small calls, one after the other.
func unary(ctx context.Context, c hellov1.HelloServiceClient, n int) error {
	req := request()
	for range n {
		if _, err := c.Hi(ctx, req); err != nil {
			return err
		}
	}
	return nil
}

// callers is how many calls unaryParallel keeps in flight on its one connection.
const callers = 16

// unaryParallel makes n small calls, callers at a time.
func unaryParallel(ctx context.Context, c hellov1.HelloServiceClient, n int) error {
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		share := n / callers
		if i < n%callers {
			share++
		}
		wg.Go(func() { errs[i] = unary(ctx, c, share) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// serverStream makes one RPC with n answers.
func serverStream(ctx context.Context, c hellov1.HelloServiceClient, n int) error {
	stream, err := c.Watch(ctx, &hellov1.HiRequest{ToWho: "somebody", Message: strconv.Itoa(n)})
	if err != nil {
		return err
	}
	for got := 0; ; got++ {
		_, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && got == n:
			return nil
		case err != nil:
			return fmt.Errorf("after %d of %d answers: %w", got, n, err)
		}
	}
}

// bidi makes one RPC with n messages back and forth, one after the other.
func bidi(ctx context.Context, c hellov1.HelloServiceClient, n int) error {
	stream, err := c.Chat(ctx)
	if err != nil {
		return err
	}
	req := request()
	for range n {
		if err := stream.Send(req); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("at the end of the stream: %w", err)
	}
	return nil
}

// bidiRPCs makes n RPCs of two messages each.
func bidiRPCs(ctx context.Context, c hellov1.HelloServiceClient, n int) error {
	for range n {
		if err := bidi(ctx, c, 2); err != nil {
			return err
		}
	}
	return nil
}
