package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

type client = connect.Client[hellov1.HiRequest, hellov1.HiResponse]

// start serves until the test ends and returns a function that makes clients.
func start(t *testing.T) (*rebalance.Balancer, func(method string, proto int, opts ...connect.ClientOption) *client) {
	t.Helper()
	bal, err := rebalance.New(config.Default(), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web, done := newServer(bal, "pod-a"), make(chan error, 1)
	go func() { done <- web.Serve(lis) }()
	t.Cleanup(func() {
		web.Stop()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return bal, func(method string, proto int, opts ...connect.ClientOption) *client {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(proto == 1)
		tr.Protocols.SetUnencryptedHTTP2(proto == 2)
		t.Cleanup(tr.CloseIdleConnections)
		return connect.NewClient[hellov1.HiRequest, hellov1.HiResponse](&http.Client{Transport: tr},
			"http://"+lis.Addr().String()+"/hello.v1.HelloService/"+method, opts...)
	}
}

// protocols are the ways in which a client can call.
var protocols = map[string]struct {
	proto int
	opts  []connect.ClientOption
}{
	"Connect, HTTP/1.1": {proto: 1},
	"Connect, HTTP/2":   {proto: 2},
	"gRPC":              {proto: 2, opts: []connect.ClientOption{connect.WithGRPC()}},
	"gRPC-Web":          {proto: 1, opts: []connect.ClientOption{connect.WithGRPCWeb()}},
}

func TestUnary(t *testing.T) {
	for name, p := range protocols {
		t.Run(name, func(t *testing.T) {
			bal, dial := start(t)
			c := dial("Hi", p.proto, p.opts...)
			for range 3 {
				res, err := c.CallUnary(t.Context(), connect.NewRequest(&hellov1.HiRequest{ToWho: "Ann"}))
				if err != nil || res.Msg.GetPod() != "pod-a" || res.Msg.GetFromWho() != "Ann" {
					t.Fatalf("got %v, %v", res, err)
				}
				bal.DrainAll(t.Context())
			}
			if s := bal.Status(); s.Tracked < 2 || s.GoAways["manual"] == 0 {
				t.Errorf("%d connections were tracked, GOAWAYs %v: want the client to come back after a drain", s.Tracked, s.GoAways)
			}
		})
	}
}

// A stream without end ends politely after its connection was drained. Its client learns when to
// open it again.
func TestWatchEndsAfterADrain(t *testing.T) {
	for name, p := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bal, dial := start(t)
			stream, err := dial("Watch", p.proto, p.opts...).CallServerStream(t.Context(), connect.NewRequest(&hellov1.HiRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			begun := time.Now()
			if n := bal.DrainAll(t.Context()); n != 1 {
				t.Fatalf("drained %d connections, want 1", n)
			}
			for stream.Receive() {
			}
			wantMoved(t, stream.Err(), time.Since(begun))
		})
	}
}

// A handler that waits for its client is ended, too.
func TestChatEndsAfterADrain(t *testing.T) {
	bal, dial := start(t)
	stream := dial("Chat", 2, connect.WithGRPC()).CallBidiStream(t.Context())
	if err := stream.Send(&hellov1.HiRequest{Message: "one"}); err != nil {
		t.Fatal(err)
	}
	if res, err := stream.Receive(); err != nil || res.GetMessage() != "one" {
		t.Fatalf("got %v, %v", res, err)
	}
	begun := time.Now()
	bal.DrainAll(t.Context())
	_, err := stream.Receive()
	wantMoved(t, err, time.Since(begun))
}

func TestChatEndsWithItsClient(t *testing.T) {
	_, dial := start(t)
	stream := dial("Chat", 2).CallBidiStream(context.Background())
	if err := stream.Send(nil); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); endOf(err) != nil {
		t.Errorf("the stream ended with %v, want its regular end", err)
	}
}

func wantMoved(t *testing.T, err error, after time.Duration) {
	t.Helper()
	var failed *connect.Error
	if !errors.As(err, &failed) || failed.Code() != connect.CodeUnavailable || after < 4*time.Second {
		t.Fatalf("the stream ended with %v after %v, want unavailable after 5 s", err, after)
	}
	for _, d := range failed.Details() {
		if v, err := d.Value(); err == nil {
			if _, ok := v.(*errdetails.RetryInfo); ok {
				return
			}
		}
	}
	t.Errorf("the error has no RetryInfo: %v", failed.Details())
}
