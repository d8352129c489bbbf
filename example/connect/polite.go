package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// politeStreams is an interceptor that ends streams a while after their connection was drained,
// so that their clients open them elsewhere. It is to connect-go what serveropts/streams is to
// grpc-go.
type politeStreams struct {
	wait    time.Duration // from the drain to the end: at least 500 ms, so that the client has read the GOAWAY
	retryIn time.Duration // clients are asked to wait for a random time up to this
}

var errMoved = errors.New("the stream's connection is drained")

// WrapUnary leaves unary calls alone.
func (politeStreams) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingClient leaves clients alone.
func (politeStreams) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler ends the stream with CodeUnavailable, whatever the handler then returns.
func (p politeStreams) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		// Until the drain this costs no goroutine.
		stop, _ := rebalance.AfterDraining(ctx, func() {
			select {
			case <-ctx.Done():
			case <-time.After(p.wait):
				cancel(errMoved)
			}
		})
		defer stop()
		err := next(ctx, &endingConn{StreamingHandlerConn: conn, ctx: ctx})
		if errors.Is(context.Cause(ctx), errMoved) {
			return p.moved()
		}
		return err
	}
}

// moved is the error with which a stream ends. Clients open it again after the delay.
func (p politeStreams) moved() error {
	err := connect.NewError(connect.CodeUnavailable, errMoved)
	delay := time.Duration(rand.Float64() * float64(p.retryIn))
	if detail, wrong := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)}); wrong == nil {
		err.AddDetail(detail)
	}
	return err
}

// endingConn is a stream whose Receive ends with the context.
type endingConn struct {
	connect.StreamingHandlerConn

	ctx context.Context
}

// Receive waits in a goroutine of its own, which ends with the request at the latest.
func (c *endingConn) Receive(msg any) error {
	received := make(chan error, 1)
	go func() { received <- c.StreamingHandlerConn.Receive(msg) }()
	select {
	case err := <-received:
		return err
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// endOf returns nil for the regular end of what a client sends.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
