package streams

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// The reasons for an end, as the client reads them.
const (
	whyDrained = "this connection is drained: open the stream again, it will go elsewhere"
	whyAged    = "this stream has reached its maximum age: open it again"
)

// stream is a stream that can be ended.
type stream struct {
	grpc.ServerStream

	ctx        context.Context
	cancel     context.CancelCauseFunc
	retryDelay time.Duration
	recv       *receiver // nil: RecvMsg is that of the stream below

	mu     sync.Mutex // guards what follows
	over   bool       // the handler has returned
	timers []*time.Timer
}

func newStream(ss grpc.ServerStream, retryDelay time.Duration) *stream {
	s := &stream{ServerStream: ss, retryDelay: retryDelay}
	s.ctx, s.cancel = context.WithCancelCause(ss.Context())
	return s
}

// Context is canceled when the stream is to end. Its cause is then the status.
func (s *stream) Context() context.Context { return s.ctx }

// SendMsg sends nothing any more once the stream is to end. One that has begun is not
// interrupted: the message is sent whole.
func (s *stream) SendMsg(m any) error {
	if end := s.ended(); end != nil {
		return end
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg returns the status once the stream is to end, also if it is waiting at that moment.
func (s *stream) RecvMsg(m any) error {
	switch end := s.ended(); {
	case end != nil:
		return end
	case s.recv == nil:
		return s.ServerStream.RecvMsg(m)
	}
	return s.recv.receive(s, m)
}

// endAfter ends the stream after d, unless its handler has returned by then.
func (s *stream) endAfter(d time.Duration, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.timers = append(s.timers, time.AfterFunc(d, func() {
			s.cancel(newEnd(why, time.Duration(rand.Float64()*float64(s.retryDelay))))
		}))
	}
}

// ended returns the status with which the stream is to end, or nil.
func (s *stream) ended() *endError {
	if s.ctx.Err() == nil {
		return nil
	}
	var end *endError
	errors.As(context.Cause(s.ctx), &end)
	return end
}

// outcome returns the error of the RPC, given that of the handler.
func (s *stream) outcome(err error) error {
	end := s.ended()
	if end == nil || !comesOf(err) {
		return err
	}
	s.SetTrailer(end.pushback())
	return end
}

// release drops everything that the stream holds, when its handler has returned.
func (s *stream) release() {
	s.cancel(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, t := range s.timers {
		t.Stop()
	}
}
