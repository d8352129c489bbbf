//go:build interop && linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// result counts the calls of one client, in the words of the clients of ../interop.
type result struct {
	Client  string         `json:"client"`
	Version string         `json:"version"`
	Calls   int            `json:"calls"`
	Failed  int            `json:"failed"`
	Errors  map[string]int `json:"errors"`
}

// tally counts calls and keeps how long the unary ones took.
type tally struct {
	mu sync.Mutex
	result
	unary []span
	// lastFailure is when the latest call began that failed.
	lastFailure time.Time
}

// span is one call that succeeded.
type span struct {
	begun time.Time
	took  time.Duration
}

func newTally() *tally {
	return &tally{result: result{Client: "grpc-go", Version: grpc.Version, Errors: map[string]int{}}}
}

func (t *tally) add(what string, begun time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Calls++
	if err != nil {
		t.Failed++
		if begun.After(t.lastFailure) {
			t.lastFailure = begun
		}
		t.Errors[what+": "+err.Error()]++
	} else if what == "hi" {
		t.unary = append(t.unary, span{begun, time.Since(begun)})
	}
}

// latency is how long unary calls took.
type latency struct{ median, p99 time.Duration }

// between returns the latency of the unary calls that began in a time.
func (t *tally) between(from, to time.Time) latency {
	t.mu.Lock()
	defer t.mu.Unlock()
	var took []time.Duration
	for _, s := range t.unary {
		if s.begun.After(from) && s.begun.Before(to) {
			took = append(took, s.took)
		}
	}
	if len(took) == 0 {
		return latency{}
	}
	slices.Sort(took)
	return latency{took[len(took)/2], took[len(took)*99/100]}
}

func (l latency) String() string {
	return fmt.Sprintf("%d / %d ms", l.median.Milliseconds(), l.p99.Milliseconds())
}

// channel is a grpc-go client with round_robin over all pods. It has nothing of evenkeel, no retry
// loop and no wait-for-ready.
type channel struct {
	cc    *grpc.ClientConn
	hello hellov1.HelloServiceClient
}

func (w *world) dial(t *testing.T, opts ...grpc.DialOption) channel {
	t.Helper()
	r := manual.NewBuilderWithScheme("pods")
	var endpoints []resolver.Endpoint
	for _, addr := range w.addrs() {
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
	}
	r.InitialState(resolver.State{Endpoints: endpoints})
	opts = append(opts, grpc.WithResolvers(r), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(w.connect), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	cc, err := grpc.NewClient("pods:///hello.test", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return channel{cc, hellov1.NewHelloServiceClient(cc)}
}

// usualWorkers is the number of workers with unary calls.
const usualWorkers = 4

// work makes calls until end and returns when the last one has ended. The workers are those of the
// clients in ../interop, and one with messages of big bytes if that is positive.
func (c channel) work(t *tally, end time.Time, big int, deadline time.Duration) {
	var wg sync.WaitGroup
	loop := func(what string, n int, call func(context.Context) error) {
		for range n {
			wg.Go(func() {
				for begun := time.Now(); begun.Before(end); begun = time.Now() {
					ctx, cancel := context.WithTimeout(context.Background(), deadline)
					t.add(what, begun, call(ctx))
					cancel()
				}
			})
		}
	}
	loop("hi", usualWorkers, func(ctx context.Context) error { return c.hi(ctx, "hello") })
	loop("watch", 2, func(ctx context.Context) error { return c.watch(ctx, 3) })
	loop("chat", 1, func(ctx context.Context) error { return c.chat(ctx, 10) })
	if big > 0 {
		loop("big", 1, func(ctx context.Context) error { return c.hi(ctx, strings.Repeat("x", big)) })
	}
	wg.Go(func() {
		begun := time.Now()
		t.add("long watch", begun, c.watch(context.Background(), int(time.Until(end)/period)+2))
	})
	wg.Wait()
}

func (c channel) hi(ctx context.Context, message string) error {
	res, err := c.hello.Hi(ctx, &hellov1.HiRequest{ToWho: "you", Message: message})
	if err == nil && res.GetMessage() != message {
		err = fmt.Errorf("answered %.20q", res.GetMessage())
	}
	return err
}

// watch reads some messages and cancels the stream.
func (c channel) watch(ctx context.Context, messages int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.hello.Watch(ctx, &hellov1.HiRequest{ToWho: "you"})
	for i := 0; i < messages && err == nil; i++ {
		_, err = s.Recv()
	}
	return err
}

func (c channel) chat(ctx context.Context, messages int) error {
	s, err := c.hello.Chat(ctx)
	if err != nil {
		return err
	}
	for i := range messages {
		// After io.EOF from Send, Recv returns the actual error.
		if err := s.Send(&hellov1.HiRequest{Message: fmt.Sprint(i)}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("no clean end: %w", err)
	}
	return nil
}
