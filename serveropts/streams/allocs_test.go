package streams

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// fake is a stream without a connection.
type fake struct {
	grpc.ServerStream

	ctx context.Context
}

func (f *fake) Context() context.Context { return f.ctx }
func (f *fake) RecvMsg(any) error        { return nil }
func (f *fake) SendMsg(any) error        { return nil }

// run returns what passes a stream through an interceptor.
func run(tb testing.TB, info *grpc.StreamServerInfo, handler grpc.StreamHandler, opts ...Option) func() {
	tb.Helper()
	i, err := StreamServerInterceptor(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	ss := &fake{ctx: context.Background()}
	return func() { _ = i(nil, ss, info, handler) }
}

func nothing(any, grpc.ServerStream) error { return nil }

// A stream that no rule matches costs no allocation.
func TestNoAllocationWithoutMatch(t *testing.T) {
	watch := &grpc.StreamServerInfo{FullMethod: "/hello.v1.HelloService/Watch", IsServerStream: true}
	for name, opts := range map[string][]Option{
		"other methods": {OnDrain(Methods("/a.B/C", "/d.E/*"), 0), MaxAge(Methods("/a.B/C"), time.Hour), SelfEnding(nil)},
		"all but this":  {OnDrain(AllBut("/hello.v1.HelloService/*"), 0)},
	} {
		if n := testing.AllocsPerRun(1000, run(t, watch, nothing, opts...)); n != 0 {
			t.Errorf("%s: got %v allocations, want none", name, n)
		}
	}
	health := &grpc.StreamServerInfo{FullMethod: "/grpc.health.v1.Health/Watch", IsServerStream: true}
	if n := testing.AllocsPerRun(1000, run(t, health, nothing, OnDrain(nil, 0), MaxAge(nil, time.Hour))); n != 0 {
		t.Errorf("health: got %v allocations, want none", n)
	}
}

// A stream that can be ended costs a few, and none for each message.
func TestAllocationsOfAMatch(t *testing.T) {
	for _, clientStream := range []bool{false, true} {
		chat := &grpc.StreamServerInfo{FullMethod: "/hello.v1.HelloService/Chat", IsServerStream: true, IsClientStream: clientStream}
		of := func(messages int) float64 {
			handler := func(_ any, ss grpc.ServerStream) error {
				for range messages {
					if err := ss.RecvMsg(ss); err != nil {
						return err
					}
					if err := ss.SendMsg(ss); err != nil {
						return err
					}
				}
				return nil
			}
			return testing.AllocsPerRun(1000, run(t, chat, handler, MaxAge(nil, time.Hour)))
		}
		one, many := of(1), of(100)
		t.Logf("client streams: %v; %v allocations with 1 message, %v with 100", clientStream, one, many)
		if one > 15 || many > one+1 {
			t.Errorf("client streams: %v; got %v allocations with 1 message, %v with 100, want at most 15, and no more", clientStream, one, many)
		}
	}
}

// The cost of one message of a stream that can be ended.
func BenchmarkRecvMsg(b *testing.B) {
	for name, opts := range map[string][]Option{
		"unmatched": {OnDrain(Methods(), 0)}, "matched": {MaxAge(nil, time.Hour)}, "self-ending": {MaxAge(nil, time.Hour), SelfEnding(nil)},
	} {
		b.Run("stream="+name, func(b *testing.B) {
			b.ReportAllocs()
			chat := &grpc.StreamServerInfo{FullMethod: "/hello.v1.HelloService/Chat", IsServerStream: true, IsClientStream: true}
			run(b, chat, func(_ any, ss grpc.ServerStream) error {
				for range b.N {
					if err := ss.RecvMsg(ss); err != nil {
						return err
					}
				}
				return nil
			}, opts...)()
		})
	}
}

// The cost of one stream.
func BenchmarkStream(b *testing.B) {
	for name, opts := range map[string][]Option{"unmatched": {OnDrain(Methods(), 0)}, "matched": {MaxAge(nil, time.Hour)}} {
		b.Run("stream="+name, func(b *testing.B) {
			b.ReportAllocs()
			once := run(b, &grpc.StreamServerInfo{FullMethod: "/hello.v1.HelloService/Watch", IsServerStream: true}, nothing, opts...)
			for range b.N {
				once()
			}
		})
	}
}
