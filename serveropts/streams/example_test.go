package streams_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
	"github.com/evenkeel-go/evenkeel/serveropts/streams"
)

// A server whose streams follow their clients to other pods.
func ExampleStreamServerInterceptor() {
	bal, err := rebalance.Load(config.Layers{}, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	polite, err := streams.StreamServerInterceptor(
		streams.OnDrain(streams.Methods("/hello.v1.HelloService/Upload"), time.Minute), // most end by themselves
		streams.OnDrain(nil, 5*time.Second),                                            // all others
		streams.MaxAge(streams.Methods("/hello.v1.HelloService/Watch"), time.Hour),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	opts := serveropts.Options(bal, insecure.NewCredentials())
	srv := grpc.NewServer(append(opts, grpc.ChainStreamInterceptor(polite))...)
	defer srv.Stop()
	fmt.Println(polite != nil)
	// Output: true
}

// Everything that is wrong is said at once.
func ExampleStreamServerInterceptor_wrong() {
	_, err := streams.StreamServerInterceptor(
		streams.MaxAge(streams.Methods("Watch"), time.Millisecond),
	)
	fmt.Println(err)
	// Output:
	// streams: MaxAge: "Watch" is no method: write /package.Service/Method, or /package.Service/* for all of a service
	// streams: MaxAge: age is 1ms, allowed: 1s to 8760h0m0s
}

// Streams that end 10 s after their connection was drained.
func ExampleOnDrain() {
	polite, err := streams.StreamServerInterceptor(streams.OnDrain(nil, 10*time.Second))
	fmt.Println(polite != nil, err)
	// Output: true <nil>
}

// Streams that end after 54 to 66 minutes, whatever happens to their connection.
func ExampleMaxAge() {
	polite, err := streams.StreamServerInterceptor(streams.MaxAge(nil, time.Hour))
	fmt.Println(polite != nil, err)
	// Output: true <nil>
}

// Thousands of clients with one stream each come back within half a minute.
func ExampleRetryDelay() {
	polite, err := streams.StreamServerInterceptor(streams.MaxAge(nil, time.Hour), streams.RetryDelay(30*time.Second))
	fmt.Println(polite != nil, err)
	// Output: true <nil>
}

// The handler of Chat watches its context, so its messages take no detour.
func ExampleSelfEnding() {
	polite, err := streams.StreamServerInterceptor(
		streams.OnDrain(nil, 10*time.Second),
		streams.SelfEnding(streams.Methods("/hello.v1.HelloService/Chat")),
	)
	fmt.Println(polite != nil, err)
	// Output: true <nil>
}

func ExampleMethods() {
	m := streams.Methods("/hello.v1.HelloService/Watch", "/news.v1.News/*")
	for _, name := range []string{"/hello.v1.HelloService/Watch", "/hello.v1.HelloService/Chat", "/news.v1.News/Follow"} {
		fmt.Println(m.Match(context.Background(), interceptors.NewServerCallMeta(name, nil, nil)))
	}
	// Output:
	// true
	// false
	// true
}

func ExampleAllBut() {
	m := streams.AllBut("/hello.v1.HelloService/Upload")
	fmt.Println(m.Match(context.Background(), interceptors.NewServerCallMeta("/hello.v1.HelloService/Upload", nil, nil)))
	// Output: false
}

// Any other selection is a function.
func ExampleOnDrain_matchFunc() {
	bidi := selector.MatchFunc(func(_ context.Context, call interceptors.CallMeta) bool {
		return call.Typ == interceptors.BidiStream
	})
	_, err := streams.StreamServerInterceptor(streams.OnDrain(bidi, time.Second))
	fmt.Println(err)
	// Output: <nil>
}

// The error for options that end nothing.
func Example_noRule() {
	_, err := streams.StreamServerInterceptor(streams.RetryDelay(time.Second))
	fmt.Println(errors.Is(err, streams.ErrNoRule))
	// Output: true
}
