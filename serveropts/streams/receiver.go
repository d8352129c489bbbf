package streams

import "google.golang.org/grpc"

// receiver calls RecvMsg in a goroutine of its own, so that a handler can leave a RecvMsg that
// waits. The RecvMsg itself returns with the end of the RPC, when the handler has returned.
//
// grpc-go allows that: a RecvMsg may be under way when its handler returns. The message is the
// handler's, and is written if the client sends one at just that time.
type receiver struct {
	begun  bool // by the one goroutine that may call RecvMsg
	ask    chan any
	answer chan answer
}

// answer is what a RecvMsg came to.
type answer struct {
	err      error
	panicked any
}

func newReceiver() *receiver {
	return &receiver{ask: make(chan any), answer: make(chan answer, 1)} // 1: nobody may wait for it
}

// receive is RecvMsg, but returns when s is to end.
func (r *receiver) receive(s *stream, m any) error {
	if !r.begun {
		r.begun = true
		go r.serve(s.ServerStream, s.ctx.Done())
	}
	select {
	case r.ask <- m:
		return r.await(s)
	case <-s.ctx.Done():
	}
	if end := s.ended(); end != nil {
		return end
	}
	return s.ServerStream.RecvMsg(m) // fails: the client is gone, or the handler has returned
}

// await waits for the message or the end. A message that is there already comes first.
func (r *receiver) await(s *stream) error {
	select {
	case a := <-r.answer:
		return a.result()
	case <-s.ctx.Done():
	}
	end := s.ended()
	if end == nil {
		return (<-r.answer).result() // the stream below has ended, too
	}
	select {
	case a := <-r.answer:
		return a.result()
	default:
		return end
	}
}

// serve calls RecvMsg as often as it is asked to, until done.
func (r *receiver) serve(ss grpc.ServerStream, done <-chan struct{}) {
	for {
		select {
		case m := <-r.ask:
			r.answer <- recvMsg(ss, m)
		case <-done:
			return
		}
	}
}

// recvMsg hands a panic over to the goroutine of the handler, where interceptors recover it.
func recvMsg(ss grpc.ServerStream, m any) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a.panicked = p
		}
	}()
	return answer{err: ss.RecvMsg(m)}
}

func (a answer) result() error {
	if a.panicked != nil {
		panic(a.panicked)
	}
	return a.err
}
