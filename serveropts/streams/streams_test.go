package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A stream goes on for the given time after the drain, and not longer.
func TestDrainEndsStream(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{0: goAwayAhead, 10 * time.Second: 10 * time.Second} {
		t.Run(wait.String(), func(t *testing.T) {
			ticks := func(ss grpc.ServerStream) error {
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for {
					if err := ss.SendMsg(wrapperspb.String("tick")); err != nil {
						return err
					}
					select {
					case <-ss.Context().Done():
						return ss.Context().Err()
					case <-tick.C:
					}
				}
			}
			inBubble(t, handlers{"Watch": ticks}, []Option{OnDrain(nil, wait)}, func(r *rig) {
				st := r.open("Watch")
				time.Sleep(time.Hour)
				begun := time.Now()
				r.drain()
				n, err := end(st)
				r.polite(st, err, whyDrained)
				took(t, begun, want)
				if least := 3600 + int(wait/time.Second); n < least || n > least+2 {
					t.Errorf("%d messages came, want %d or so", n, least)
				}
				time.Sleep(5 * time.Second)
				if s := r.bal.Status(); s.Connections != 0 || s.Closed["forced"] != 0 {
					t.Errorf("%d connections are left, %v closed", s.Connections, s.Closed)
				}
			})
		})
	}
}

// Whatever comes of the canceled context is replaced, and nothing else.
func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		ret  func(context.Context) error
		want codes.Code
	}{
		"nil":              {func(context.Context) error { return nil }, codes.OK},
		"Err":              {context.Context.Err, codes.Unavailable},
		"Cause":            {context.Cause, codes.Unavailable},
		"Err, wrapped":     {func(ctx context.Context) error { return fmt.Errorf("wait: %w", ctx.Err()) }, codes.Unavailable},
		"Cause, wrapped":   {func(ctx context.Context) error { return fmt.Errorf("wait: %w", context.Cause(ctx)) }, codes.Unavailable},
		"Cause, joined":    {func(ctx context.Context) error { return errors.Join(errOwn, context.Cause(ctx)) }, codes.Unavailable},
		"FromContextError": {func(ctx context.Context) error { return status.FromContextError(ctx.Err()).Err() }, codes.Unavailable},
		"own status":       {func(context.Context) error { return status.Error(codes.NotFound, "own") }, codes.NotFound},
		"own aborted":      {func(ctx context.Context) error { return status.Error(codes.Aborted, ctx.Err().Error()) }, codes.Aborted},
		"own error":        {func(context.Context) error { return errOwn }, codes.Unknown},
		"own status around": {func(ctx context.Context) error {
			return &ownError{cause: ctx.Err()}
		}, codes.DataLoss},
		"EOF": {func(context.Context) error { return io.EOF }, codes.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			h := func(ss grpc.ServerStream) error { <-ss.Context().Done(); return c.ret(ss.Context()) }
			inBubble(t, handlers{"Watch": h}, []Option{OnDrain(nil, time.Second)}, func(r *rig) {
				st := r.open("Watch")
				r.drain()
				_, err := end(st)
				if errors.Is(err, io.EOF) {
					err = nil
				}
				if got := status.Code(err); got != c.want {
					t.Errorf("the client got %v, want %v", err, c.want)
				}
				if c.want == codes.Unavailable {
					r.polite(st, err, whyDrained)
				}
			})
		})
	}
}

// ownError is a handler's own status that knows its cause.
type ownError struct{ cause error }

func (e *ownError) Error() string              { return "lost" }
func (e *ownError) Unwrap() error              { return e.cause }
func (e *ownError) GRPCStatus() *status.Status { return status.New(codes.DataLoss, "lost") }

// A client that leaves is no end of ours.
func TestClientLeavesFirst(t *testing.T) {
	got := make(chan error, 1)
	h := func(ss grpc.ServerStream) error {
		<-ss.Context().Done()
		got <- errors.Join(ss.RecvMsg(new(wrapperspb.StringValue)), ss.SendMsg(wrapperspb.String("late")))
		return ss.Context().Err()
	}
	inBubble(t, handlers{"Chat": h}, []Option{OnDrain(nil, 0), MaxAge(nil, time.Hour)}, func(r *rig) {
		ctx, cancel := context.WithCancel(r.t.Context())
		if _, err := r.cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Streams/Chat"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		if err := <-got; strings.Contains(err.Error(), whyDrained) || strings.Contains(err.Error(), whyAged) {
			t.Errorf("the handler got %v, want errors of the stream below", err)
		}
	})
}

// A handler that waits in RecvMsg is released, and so is what it waited with.
func TestDrainEndsStreamThatReceives(t *testing.T) {
	for _, sent := range []int{1, 4} {
		inBubble(t, handlers{"Chat": echo}, []Option{OnDrain(nil, 10*time.Second)}, func(r *rig) {
			st := r.open("Chat")
			for range sent - 1 {
				r.send(st, "more")
			}
			time.Sleep(time.Hour)
			begun := time.Now()
			r.drain()
			n, err := end(st)
			took(t, begun, 10*time.Second)
			r.polite(st, err, whyDrained)
			if n != sent {
				t.Errorf("%d messages came back, want %d", n, sent)
			}
		})
	}
}

// RecvMsg in a goroutine of the handler's own returns with the stream.
func TestGoroutineThatReceivesEnds(t *testing.T) {
	for name, opts := range map[string][]Option{"": nil, "SelfEnding": {SelfEnding(nil)}} {
		t.Run(name, func(t *testing.T) {
			got := make(chan error, 1)
			h := func(ss grpc.ServerStream) error {
				go func() {
					for {
						if err := ss.RecvMsg(new(wrapperspb.StringValue)); err != nil {
							got <- err
							return
						}
					}
				}()
				return until(ss)
			}
			inBubble(t, handlers{"Chat": h}, append(opts, OnDrain(nil, time.Second)), func(r *rig) {
				st := r.open("Chat")
				r.drain()
				_, err := end(st)
				r.polite(st, err, whyDrained)
				if err := <-got; err == nil {
					t.Error("RecvMsg returned nil after the end")
				}
			})
		})
	}
}

// A handler that waits in SendMsg, for a client that does not read, is not interrupted. All that
// it has sent arrives, whole, and then the end.
func TestDrainEndsStreamThatSends(t *testing.T) {
	var sent atomic.Int32
	text := strings.Repeat("x", 10_000)
	h := func(ss grpc.ServerStream) error {
		for {
			if err := ss.SendMsg(wrapperspb.String(text)); err != nil {
				return err
			}
			sent.Add(1)
		}
	}
	inBubble(t, handlers{"Watch": h}, []Option{OnDrain(nil, time.Second)}, func(r *rig) {
		st := r.open("Watch")
		r.drain()
		time.Sleep(time.Hour)
		before := sent.Load()
		n, err := end(st)
		r.polite(st, err, whyDrained)
		if n != int(sent.Load()) || int(sent.Load()) != int(before)+1 {
			t.Errorf("%d messages arrived, %d were sent, %d of them before the client read; want all, and one after", n, sent.Load(), before)
		}
	})
}

// Nothing forces a handler that never looks.
func TestHandlerThatNeverLooks(t *testing.T) {
	h := func(grpc.ServerStream) error { time.Sleep(time.Hour); return nil }
	inBubble(t, handlers{"Watch": h}, []Option{OnDrain(nil, time.Second), MaxAge(nil, time.Minute)}, func(r *rig) {
		begun := time.Now()
		st := r.open("Watch")
		r.drain()
		if _, err := end(st); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ended with %v, want OK", err)
		}
		took(t, begun, time.Hour)
	})
}

// SendMsg fails with the status from the end on.
func TestSendAfterTheEnd(t *testing.T) {
	got := make(chan error, 1)
	h := func(ss grpc.ServerStream) error {
		<-ss.Context().Done()
		got <- ss.SendMsg(wrapperspb.String("late"))
		return nil
	}
	inBubble(t, handlers{"Watch": h}, []Option{OnDrain(nil, time.Second)}, func(r *rig) {
		st := r.open("Watch")
		r.drain()
		if n, err := end(st); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d messages came, then %v; want none, then OK", n, err)
		}
		if err := <-got; status.Code(err) != codes.Unavailable {
			t.Errorf("SendMsg returned %v, want Unavailable", err)
		}
	})
}

// grpc-go's client repeats a stream by itself after the delay of the trailer, if it has a policy
// and no header has come (gRFC A6). Otherwise the program must.
func TestRetryOfTheClientLibrary(t *testing.T) {
	const config = `{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "100s",
		"maxBackoff": "100s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`
	for name, c := range map[string]struct {
		config string
		header bool
		want   int32
	}{"policy": {config, false, 3}, "header sent": {config, true, 1}, "no policy": {"{}", false, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var begun atomic.Int32
				h := func(ss grpc.ServerStream) error {
					begun.Add(1)
					if c.header {
						ss.SendHeader(nil)
					}
					return until(ss)
				}
				r, stop := newRig(t, handlers{"Watch": h}, nil, []grpc.DialOption{grpc.WithDefaultServiceConfig(c.config)},
					MaxAge(nil, time.Second), RetryDelay(10*time.Second))
				defer stop()
				at := time.Now()
				st := r.open("Watch")
				if _, err := end(st); status.Code(err) != codes.Unavailable {
					t.Errorf("the stream ended with %v", err)
				}
				if n, most := begun.Load(), time.Duration(c.want)*11100*time.Millisecond; n != c.want || time.Since(at) > most {
					t.Errorf("the handler was called %d times in %v, want %d in %v", n, time.Since(at), c.want, most)
				}
			})
		})
	}
}

// A panic while a message is received comes out where other interceptors recover it.
func TestPanicReachesOuterInterceptors(t *testing.T) {
	recovers := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = status.Errorf(codes.Internal, "recovered: %v", p)
			}
		}()
		return h(srv, ss)
	}
	panics := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		return h(srv, panicking{ss})
	}
	synctest.Test(t, func(t *testing.T) {
		r, stop := newRig(t, handlers{"Chat": echo}, []grpc.StreamServerInterceptor{recovers, panics}, nil, OnDrain(nil, time.Second))
		defer stop()
		st := r.open("Chat")
		if _, err := end(st); status.Code(err) != codes.Internal {
			t.Errorf("the stream ended with %v, want Internal", err)
		}
	})
}

type panicking struct{ grpc.ServerStream }

func (panicking) RecvMsg(any) error { panic("the codec") }
