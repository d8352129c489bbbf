package streams

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// handlers are the methods of the service test.Streams. Those of Watch and Other get one request,
// those of Chat and Talk a stream of them.
type handlers map[string]func(grpc.ServerStream) error

func (h handlers) desc() *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: "test.Streams", HandlerType: (*any)(nil)}
	for name, f := range h {
		d.Streams = append(d.Streams, grpc.StreamDesc{
			StreamName: name, ServerStreams: true, ClientStreams: name == "Chat" || name == "Talk",
			Handler: func(_ any, ss grpc.ServerStream) error { return f(ss) },
		})
	}
	return d
}

// rig is a tracked server with an interceptor, and a client with one connection.
type rig struct {
	t   *testing.T
	bal *rebalance.Balancer
	srv *grpc.Server
	cc  *grpc.ClientConn
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, h handlers, opts []Option, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, end := newRig(t, h, nil, nil, opts...)
		defer end()
		test(r)
	})
}

func newRig(t *testing.T, h handlers, before []grpc.StreamServerInterceptor, dial []grpc.DialOption, opts ...Option) (r *rig, end func()) {
	t.Helper()
	bal, err := rebalance.New(config.Default(), rebalance.WithSelf("pod-a", "198.18.0.1"), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	polite, err := StreamServerInterceptor(opts...)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(append(serveropts.Options(bal, insecure.NewCredentials()), grpc.ChainStreamInterceptor(append(before, polite)...))...)
	srv.RegisterService(h.desc(), nil)
	health.Register(srv, bal)
	ln := bufconn.Listen(1 << 16)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	dial = append(dial, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	cc, err := grpc.NewClient("passthrough:///pod-a", dial...)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, bal, srv, cc}, func() {
		cc.Close()
		srv.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

// open opens a stream and sends its first message.
func (r *rig) open(method string) grpc.ClientStream {
	r.t.Helper()
	st, err := r.cc.NewStream(r.t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Streams/"+method)
	if err != nil {
		r.t.Fatal(err)
	}
	r.send(st, "first")
	if method != "Chat" && method != "Talk" {
		st.CloseSend()
	}
	synctest.Wait()
	return st
}

func (r *rig) send(st grpc.ClientStream, text string) {
	r.t.Helper()
	if err := st.SendMsg(wrapperspb.String(text)); err != nil && !errors.Is(err, io.EOF) { // EOF: it has ended already
		r.t.Fatal(err)
	}
}

// drain drains the connection.
func (r *rig) drain() {
	r.t.Helper()
	if n := r.bal.DrainAll(r.t.Context()); n != 1 {
		r.t.Fatalf("%d connections are drained, want 1", n)
	}
}

// end reads a stream to its end, and returns how many messages came first.
func end(st grpc.ClientStream) (messages int, err error) {
	for {
		if err := st.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return messages, err
		}
		messages++
	}
}

// polite checks that a stream ended as it should.
func (r *rig) polite(st grpc.ClientStream, err error, why string) {
	r.t.Helper()
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.Unavailable || s.Message() != why {
		r.t.Errorf("the stream ended with %v, want Unavailable: %s", err, why)
		return
	}
	var info *errdetails.RetryInfo
	for _, d := range s.Details() {
		info, _ = d.(*errdetails.RetryInfo)
	}
	if d := info.GetRetryDelay().AsDuration(); info == nil || d < 0 || d > defaultRetryDelay {
		r.t.Errorf("the details are %v, want a RetryInfo of at most %v", s.Details(), defaultRetryDelay)
	}
	if got := st.Trailer()["grpc-retry-pushback-ms"]; len(got) != 1 {
		r.t.Errorf("grpc-retry-pushback-ms is %q, want one value", got)
	}
}

// until waits for the end of the stream's context, as most handlers do.
func until(ss grpc.ServerStream) error {
	<-ss.Context().Done()
	return ss.Context().Err()
}

// echo answers each message.
func echo(ss grpc.ServerStream) error {
	for {
		m := new(wrapperspb.StringValue)
		if err := ss.RecvMsg(m); err != nil {
			return err
		}
		if err := ss.SendMsg(m); err != nil {
			return err
		}
	}
}

var errOwn = errors.New("own")

func took(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since); got != want {
		t.Errorf("it took %v, want %v", got, want)
	}
}
