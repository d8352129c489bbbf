package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// When the pod stops, streams in flight end with the code on which clients retry. They
// are not cut off at the end of shutdown.timeout.
func TestStreamsEndWhenPodStops(t *testing.T) {
	r := start(t, "-set", "shutdown.timeout=50s", "-set", "rebalance.spread=0s")
	c := hellov1.NewHelloServiceClient(dial(t, r.grpc, insecure.NewCredentials()))
	watch, err := c.Watch(t.Context(), &hellov1.HiRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	chat, err := c.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := chat.Send(&hellov1.HiRequest{Message: "one"}); err != nil {
		t.Fatal(err)
	}
	if got, err := chat.Recv(); err != nil || got.GetMessage() != "one" {
		t.Fatalf("chat received %v, %v; want the message one", got, err)
	}
	r.stop(t)
	if _, err := lastOf(watch); status.Code(err) != codes.Unavailable {
		t.Errorf("watch ended with %v, want Unavailable", err)
	}
	if _, err := lastOf(chat); status.Code(err) != codes.Unavailable {
		t.Errorf("chat ended with %v, want Unavailable", err)
	}
}

// lastOf reads stream to its end, and returns the error that ended it.
func lastOf(stream interface {
	Recv() (*hellov1.HiResponse, error)
},
) (n int, err error) {
	for err == nil {
		_, err = stream.Recv()
		n++
	}
	return n, err
}

// newTestApp returns an app with a gateway and these flags, and its listeners.
func newTestApp(t *testing.T, flags ...string) (*app, listeners) {
	t.Helper()
	o, err := parse(append(flags, "-grpc", "127.0.0.1:0", "-http", "127.0.0.1:0", "-gateway", "127.0.0.1:0"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(&o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, l
}

// A part that fails ends all others, including the gateway, and its error is returned.
func TestFailedPartEndsAll(t *testing.T) {
	a, l := newTestApp(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stdout, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- a.serveOn(ctx, cancel, l, nil, w) }()
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_ = l.http.Close()
	select {
	case err := <-ended:
		if err == nil || !strings.HasPrefix(err.Error(), "-http: ") {
			t.Errorf("ended with %v, want an error of -http", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server has not ended within a minute of the failure")
	}
}

// A client that never sends the end of its request must not outlast shutdown.timeout.
func TestStopEndsSlowRequests(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bal, err := rebalance.New(config.Default(), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	gw, err := newGateway(t.Context(), bal, nil)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- gw.serve(ln) }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "POST /v1/hi HTTP/1.1\r\nHost: pod\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
	if _, err := bufio.NewReader(nc).ReadString('\n'); err != nil { // the handler is reading
		t.Fatal(err)
	}
	srv := &stopper{Server: grpc.NewServer(), gateway: gw, timeout: time.Hour}
	stopped := make(chan struct{})
	go func() { defer close(stopped); srv.GracefulStop() }()
	if err := <-served; err != nil { // the gateway is stopping
		t.Fatal(err)
	}
	srv.Stop()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("GracefulStop still waits for the request after Stop")
	}
}

// A handler that ignores its context and never returns must not keep the process alive.
func TestStopDoesNotWaitForHungHandlers(t *testing.T) {
	a, l := newTestApp(t, "-set", "shutdown.timeout=1s")
	called, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	a.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Hung", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Hang", ServerStreams: true, ClientStreams: true, Handler: func(any, grpc.ServerStream) error {
			close(called)
			<-release
			return nil
		}}},
	}, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	signals := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- a.serveOn(ctx, cancel, l, signals, io.Discard) }()
	conn := dial(t, l.grpc.Addr().String(), insecure.NewCredentials())
	if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Hung/Hang"); err != nil {
		t.Fatal(err)
	}
	<-called
	signals <- syscall.SIGTERM
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v, want nil after a signal", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server has not ended within a minute of the signal")
	}
}
