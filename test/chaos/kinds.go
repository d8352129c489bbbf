package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// rpc is one RPC of a client.
type rpc struct {
	ctx   context.Context
	id    uint64
	hello hellov1.HelloServiceClient
	http  *httpClient
	rng   *rand.Rand
	peer  peer.Peer
	// own is the context of a deadline or a cancellation that the client itself wants.
	own context.Context
}

// kind is a way to use a service. Each of its workers makes one RPC at a time.
type kind struct {
	name    string
	workers int
	reads   reading
	call    func(*rpc) error
}

var kinds = []kind{
	{"unary", 96, promptly, (*rpc).unary},
	{"deadline", 6, promptly, (*rpc).deadline},
	{"cancel", 4, promptly, (*rpc).cancel},
	{"server stream", 6, promptly, (*rpc).serverStream},
	{"bidi stream", 6, promptly, (*rpc).bidiStream},
	{"slow reader", 6, narrowly, (*rpc).slowReader},
	{"slow line", 4, slowly, (*rpc).slowLine},
	{"net/http", 8, byHTTP, (*rpc).overHTTP},
}

// errWrong means that an RPC ended well with a wrong answer. Nothing explains that.
var errWrong = errors.New("wrong answer")

// drainsOf is how many unary RPCs there are to one whose handler drains its connection.
const drainsOf = 1000

// upTo returns a random duration below d.
func (r *rpc) upTo(d time.Duration) time.Duration { return time.Duration(r.rng.Int64N(int64(d))) }

func (r *rpc) request(o order) *hellov1.HiRequest {
	return &hellov1.HiRequest{ToWho: strconv.FormatUint(r.id, 10), Message: o.String()}
}

func (r *rpc) unary() error {
	return r.hi(r.ctx, order{drain: r.rng.IntN(drainsOf) == 0})
}

func (r *rpc) hi(ctx context.Context, o order) error {
	req := r.request(o)
	res, err := r.hello.Hi(ctx, req, grpc.Peer(&r.peer))
	if err == nil && res.GetFromWho() != req.GetToWho() {
		return fmt.Errorf("%w: from %q, want %q", errWrong, res.GetFromWho(), req.GetToWho())
	}
	return err
}

// deadline has a deadline that its handler often misses.
func (r *rpc) deadline() error {
	ctx, cancel := context.WithTimeout(r.ctx, time.Millisecond+r.upTo(20*time.Millisecond))
	defer cancel()
	r.own = ctx
	return r.hi(ctx, order{wait: r.upTo(20 * time.Millisecond)})
}

// cancel is often canceled while its handler is at work.
func (r *rpc) cancel() error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	r.own = ctx
	t := time.AfterFunc(r.upTo(10*time.Millisecond), cancel)
	defer t.Stop()
	return r.hi(ctx, order{wait: r.upTo(10 * time.Millisecond)})
}

// serverStream lives through a drain or two.
func (r *rpc) serverStream() error {
	return r.watch(order{answers: r.rng.IntN(20), size: 100, wait: r.upTo(10 * time.Millisecond)}, 0)
}

// slowReader fills its windows, so that the server has to wait for it.
func (r *rpc) slowReader() error {
	return r.watch(order{answers: 16, size: 16 << 10}, 5*time.Millisecond+r.upTo(10*time.Millisecond))
}

// slowLine takes a few hundred milliseconds to arrive.
func (r *rpc) slowLine() error {
	return r.watch(order{answers: 1 + r.rng.IntN(4), size: 64 << 10}, 0)
}

// watch reads a server stream to its end, with a pause before each read.
func (r *rpc) watch(o order, pause time.Duration) error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	req := r.request(o)
	stream, err := r.hello.Watch(ctx, req, grpc.Peer(&r.peer))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if err := wait(ctx, pause); err != nil {
			return err
		}
		res, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && i == o.answers:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: %d answers, want %d", errWrong, i, o.answers)
		case err != nil:
			return err
		case res.GetFromWho() != req.GetToWho() || res.GetMessage() != strconv.Itoa(i) || len(res.GetPod()) != o.size:
			return fmt.Errorf("%w: answer %q of %d bytes for %q, want %d of %d bytes for %q", errWrong,
				res.GetMessage(), len(res.GetPod()), res.GetFromWho(), i, o.size, req.GetToWho())
		}
	}
}

// bidiStream sends and receives in turn, through a few drains.
func (r *rpc) bidiStream() error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	stream, err := r.hello.Chat(ctx, grpc.Peer(&r.peer))
	if err != nil {
		return err
	}
	req := r.request(order{wait: r.upTo(10 * time.Millisecond)})
	for range 1 + r.rng.IntN(20) {
		// If the stream has broken, Send returns EOF and Recv the reason.
		if err := stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: the server ended the stream", errWrong)
		}
		if err != nil {
			return err
		}
		if res.GetFromWho() != req.GetToWho() {
			return fmt.Errorf("%w: from %q, want %q", errWrong, res.GetFromWho(), req.GetToWho())
		}
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		if err == nil {
			return fmt.Errorf("%w: one answer too many", errWrong)
		}
		return err
	}
	return nil
}
