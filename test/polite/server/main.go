// Command server is a pod whose streams never end by themselves. With -wait they end politely,
// that long after their connection was drained. With -hang its unary calls hang at will.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
	"github.com/evenkeel-go/evenkeel/serveropts/streams"
)

// list is a flag that can be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// pod holds the flags.
type pod struct {
	grpc, http, name string

	settings list
	wait     time.Duration
	hang     string
}

func main() {
	var p pod
	flag.StringVar(&p.grpc, "grpc", "127.0.0.1:50051", "serve gRPC on this `address`")
	flag.StringVar(&p.http, "http", "127.0.0.1:8080", "serve the health endpoint on this `address`")
	flag.StringVar(&p.name, "name", "pod", "`name` of this pod")
	flag.Var(&p.settings, "set", "set this `key=value`; may be repeated")
	flag.DurationVar(&p.wait, "wait", -1, "end streams this long after their connection was drained; negative: never")
	flag.StringVar(&p.hang, "hang", "", "answer no unary call while this `file` exists")
	flag.Parse()
	if err := p.run(); err != nil {
		log.Fatal("server: ", err)
	}
}

func (p *pod) run() error {
	host, _, err := net.SplitHostPort(p.grpc)
	if err != nil {
		return err
	}
	bal, err := rebalance.Load(config.Layers{Env: []string{}, Set: p.settings}, rebalance.WithSelf(p.name, host))
	if err != nil {
		return err
	}
	srv, err := p.server(bal)
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", p.grpc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // after Shutdown, which peers follow
	failed := make(chan error, 3)
	go func() { failed <- bal.Run(ctx) }()
	go func() { failed <- health.ListenAndServe(ctx, p.http, bal) }()
	go func() { failed <- srv.Serve(lis) }()

	sigterm, release := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer release()
	select {
	case err := <-failed:
		return err
	case <-sigterm.Done():
	}
	if err := bal.Shutdown(context.Background(), srv); p.wait >= 0 || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil // streams without end do not let a server stop in time
}

func (p *pod) server(bal *rebalance.Balancer) (*grpc.Server, error) {
	opts := serveropts.Options(bal, insecure.NewCredentials())
	if p.wait >= 0 {
		polite, err := streams.StreamServerInterceptor(streams.OnDrain(nil, p.wait))
		if err != nil {
			return nil, err
		}
		opts = append(opts, grpc.ChainStreamInterceptor(polite))
	}
	srv := grpc.NewServer(opts...)
	hellov1.RegisterHelloServiceServer(srv, &hello{pod: p.name, hang: p.hang})
	health.Register(srv, bal)
	return srv, nil
}

// hello knows nothing of drains.
type hello struct {
	hellov1.UnimplementedHelloServiceServer

	pod, hang string
}

// Hi answers at once, or not before the client gives up.
func (h *hello) Hi(ctx context.Context, _ *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	if _, err := os.Stat(h.hang); err == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &hellov1.HiResponse{Pod: h.pod}, nil
}

// Watch answers at once, and then every 100 ms for as long as the client listens.
func (h *hello) Watch(_ *hellov1.HiRequest, stream grpc.ServerStreamingServer[hellov1.HiResponse]) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := stream.Send(&hellov1.HiResponse{Pod: h.pod}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-tick.C:
		}
	}
}

// Chat answers each message as it arrives, and waits for the next one in Recv.
func (h *hello) Chat(stream grpc.BidiStreamingServer[hellov1.HiRequest, hellov1.HiResponse]) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if err := stream.Send(&hellov1.HiResponse{Pod: h.pod}); err != nil {
			return err
		}
	}
}
