package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	drainEvery = 200 * time.Millisecond
	// interopChannels is how many channels run the cases side by side.
	interopChannels = 8
)

// interopCases are grpc's interop test cases that need no credentials and no cloud
// (doc/interop-test-descriptions.md of grpc). A case that fails ends the process.
func interopCases() []func(context.Context, *grpc.ClientConn) {
	var cases []func(context.Context, *grpc.ClientConn)
	for _, do := range []func(context.Context, testpb.TestServiceClient, ...grpc.CallOption){
		interop.DoEmptyUnaryCall, interop.DoLargeUnaryCall, interop.DoClientStreaming, interop.DoServerStreaming,
		interop.DoPingPong, interop.DoEmptyStream, interop.DoTimeoutOnSleepingServer, interop.DoCancelAfterBegin,
		interop.DoCancelAfterFirstResponse, interop.DoCustomMetadata, interop.DoStatusCodeAndMessage,
		interop.DoSpecialStatusMessage,
	} {
		cases = append(cases, func(ctx context.Context, cc *grpc.ClientConn) { do(ctx, testpb.NewTestServiceClient(cc)) })
	}
	return append(cases,
		interop.DoUnimplementedMethod,
		func(ctx context.Context, cc *grpc.ClientConn) {
			interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(cc))
		})
}

// interops runs grpc's interop test cases while the server drains every connection all the time.
func interops(ctx context.Context, o *options) (bool, error) {
	return eachWire(func(w wire) (bool, error) { return interopOver(ctx, o, w, tracked) })
}

func interopOver(ctx context.Context, o *options, w wire, kind serverKind) (bool, error) {
	s, err := serve(kind, w)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.drained+time.Minute)
	defer cancel()
	stop := drainAll(s)
	got, err := client[map[string]int](ctx, "interop", s.addr, string(w), o.drained.String())
	stop()
	status, errStatus := s.status()
	err = errors.Join(err, errStatus)
	drains := drained(&status)
	o.printf("%-9s  %d cases of interop run, %d connections drained of %d, in %s\n", w, got["cases"], drains, status.Tracked, o.drained)
	if errors.Is(err, errChild) {
		o.printf("FAILED: %v\n", err)
		return false, s.stop()
	}
	if drains < interopChannels {
		o.printf("FAILED: only %d connections were drained, so this shows nothing\n", drains)
		return false, s.stop()
	}
	return true, errors.Join(err, s.tracks(), s.stop())
}

// drained is how many connections were drained.
func drained(status *rebalance.Status) (n uint64) {
	for _, count := range status.GoAways {
		n += count
	}
	return n
}

// drainAll drains every connection of a server each drainEvery, until stop is called. The
// sidecar drains by itself, see sidecarAge.
func drainAll(s *server) (stop func()) {
	if s.bal == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(drainEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.bal.DrainAll(context.Background())
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// interopChild runs the cases one after the other on each channel, for so long, and returns
// how many it ran.
func interopChild(args []string) (any, error) {
	long, err := time.ParseDuration(args[2])
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum, deadline := 0, time.Now().Add(long)
	var errs error
	for range interopChannels {
		wg.Go(func() {
			n, err := runInterop(args[0], wire(args[1]), deadline)
			mu.Lock()
			defer mu.Unlock()
			sum, errs = sum+n, errors.Join(errs, err)
		})
	}
	wg.Wait()
	return map[string]int{"cases": sum}, errs
}

func runInterop(addr string, w wire, deadline time.Time) (int, error) {
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(clientCreds(w)))
	if err != nil {
		return 0, err
	}
	defer cc.Close()
	n := 0
	for time.Now().Before(deadline) {
		for _, do := range interopCases() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			do(ctx, cc)
			cancel()
			n++
		}
	}
	return n, nil
}
