//go:build interop && linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// pod is one server of the hello service, built as a user would build it.
type pod struct {
	hellov1.UnimplementedHelloServiceServer
	name, addr string
	srv        *grpc.Server
	bal        *rebalance.Balancer // nil without evenkeel
	served     atomic.Int64        // calls that have reached a handler
}

// work is how long a unary call takes, and period the time between the messages of Watch.
const (
	work   = 4 * time.Millisecond
	period = time.Second
)

func (w *world) startPod(t *testing.T, i int, host string) *pod {
	t.Helper()
	p := &pod{name: string(rune('a' + i)), addr: net.JoinHostPort(host, port)}
	if w.bare {
		params := serveropts.ServerParameters(w.policy)
		params.MaxConnectionAge = w.age
		p.srv = grpc.NewServer(grpc.KeepaliveParams(params), grpc.KeepaliveEnforcementPolicy(
			keepalive.EnforcementPolicy{MinTime: w.policy.MinClientPing, PermitWithoutStream: true}))
	} else {
		p.balance(t, host, w.policy)
	}
	hellov1.RegisterHelloServiceServer(p.srv, p)
	l, err := w.servers.Listen(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.srv.Serve(l); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		p.srv.Stop()
		<-done
	})
	return p
}

// balance makes a server with evenkeel.
func (p *pod) balance(t *testing.T, host string, policy config.Policy) {
	t.Helper()
	cfg := config.Default()
	cfg.Shutdown.Timeout = shutdownTimeout
	cfg.Policy = policy
	var err error
	if p.bal, err = rebalance.New(cfg, rebalance.WithSelf(p.name, host), rebalance.WithLogger(slog.New(slog.DiscardHandler))); err != nil {
		t.Fatal(err)
	}
	p.srv = grpc.NewServer(serveropts.Options(p.bal, insecure.NewCredentials())...)
	health.Register(p.srv, p.bal)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.bal.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// shutdownTimeout is shutdown.timeout of the pods.
const shutdownTimeout = 15 * time.Second

// status is the part of /statusz that these tests need.
type status struct {
	Connections int            `json:"connections"`
	Draining    int            `json:"draining"`
	Streams     int            `json:"streams"`
	Opened      int            `json:"opened"`
	GoAways     map[string]int `json:"goaways"`
	Closed      map[string]int `json:"closed"`
	Untracked   int            `json:"untracked"`
}

func connections(s status) int { return s.Connections }
func draining(s status) int    { return s.Draining }
func opened(s status) int      { return s.Opened }
func goAways(s status) int     { return s.GoAways["manual"] }
func forced(s status) int      { return s.Closed["forced"] }

func closed(s status) (n int) {
	for _, of := range s.Closed {
		n += of
	}
	return n
}

// status asks the health endpoint, as a person would. A bare pod has none, so its status is zero.
func (p *pod) status(t *testing.T) (s status) {
	t.Helper()
	if p.bal == nil {
		return s
	}
	res := httptest.NewRecorder()
	health.Handler(p.bal).ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), "GET", "http://"+p.addr+"/statusz", nil))
	if err := json.Unmarshal(res.Body.Bytes(), &s); err != nil {
		t.Fatalf("/statusz: %v: %s", err, res.Body)
	}
	return s
}

func (p *pod) answer(req *hellov1.HiRequest) *hellov1.HiResponse {
	return &hellov1.HiResponse{FromWho: req.GetToWho(), Message: req.GetMessage(), Pod: p.name}
}

func (p *pod) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	p.served.Add(1)
	return p.answer(req), pause(ctx, work)
}

func (p *pod) Watch(req *hellov1.HiRequest, s grpc.ServerStreamingServer[hellov1.HiResponse]) error {
	p.served.Add(1)
	for {
		if err := s.Send(p.answer(req)); err != nil {
			return err
		}
		if err := pause(s.Context(), period); err != nil {
			return err
		}
	}
}

func (p *pod) Chat(s grpc.BidiStreamingServer[hellov1.HiRequest, hellov1.HiResponse]) error {
	p.served.Add(1)
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(p.answer(req)); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
