package works

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// clients is how many connections are open at a time, one for each client.
const clients = 3

// patience is how long anything may take on a busy machine.
const patience = 20 * time.Second

// keyLog remembers by which keys clients were known.
type keyLog struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (k *keyLog) weigh(s rebalance.ConnStats) float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[s.Key] = true
	return 1
}

func (k *keyLog) sorted() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.seen))
}

// want waits until connections have been weighed and compares their keys.
func (k *keyLog) want(t *testing.T, want []string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end) && !slices.Equal(k.sorted(), want); {
		time.Sleep(10 * time.Millisecond)
	}
	if got := k.sorted(); !slices.Equal(got, want) {
		t.Errorf("clients have the keys %q, want %q", got, want)
	}
}

// balancer returns a Balancer that runs until the test ends, and the log of its keys.
func balancer(t *testing.T) (*rebalance.Balancer, *keyLog) {
	t.Helper()
	keys := &keyLog{seen: map[string]bool{}}
	cfg := config.Default()
	cfg.Rebalance.Spread = 100 * time.Millisecond
	bal, err := rebalance.New(cfg, rebalance.WithSelf(t.Name(), loopback), rebalance.WithWeight(keys.weigh))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- bal.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return bal, keys
}

// client is a grpc-go client with one connection and at most one stream of its own.
type client struct {
	cc     *grpc.ClientConn
	hello  hellov1.HelloServiceClient
	stream grpc.BidiStreamingClient[hellov1.HiRequest, hellov1.HiResponse]
	cancel context.CancelFunc
}

// connect makes the clients of a place. Each checks the server's health, which makes no load,
// and calls it once.
func connect(t *testing.T, p *place) []*client {
	t.Helper()
	var all []*client
	for _, d := range p.dials {
		cc, err := grpc.NewClient(d.target, d.opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		c := newClient(cc)
		c.checkHealth(t)
		c.callOnce(t)
		all = append(all, c)
	}
	return all
}

func newClient(cc *grpc.ClientConn) *client {
	return &client{cc: cc, hello: hellov1.NewHelloServiceClient(cc)}
}

func (c *client) checkHealth(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if res, err := healthpb.NewHealthClient(c.cc).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("health check: %v, %v", res, err)
	}
}

func (c *client) callOnce(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.hello.Hi(ctx, &hellov1.HiRequest{}); err != nil {
		t.Fatal(err)
	}
}

// open opens the client's stream.
func (c *client) open(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	stream, err := c.hello.Chat(ctx)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	c.stream, c.cancel = stream, cancel
	c.exchange(t)
}

// exchange sends a message on the stream and waits for the answer.
func (c *client) exchange(t *testing.T) {
	t.Helper()
	if err := c.stream.Send(&hellov1.HiRequest{ToWho: "stream"}); err != nil {
		t.Fatalf("Send: %v", err)
	}
	if res, err := c.stream.Recv(); err != nil || res.GetFromWho() != "stream" {
		t.Fatalf("Recv: %v, %v", res, err)
	}
}

// end ends the stream, which must end well.
func (c *client) end(t *testing.T) {
	t.Helper()
	defer c.cancel()
	if err := c.stream.CloseSend(); err != nil {
		t.Errorf("CloseSend: %v", err)
	}
	if _, err := c.stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want EOF", err)
	}
}

// calls are unary calls that go on until they are stopped.
type calls struct {
	ended chan struct{}
	wg    sync.WaitGroup

	mu     sync.Mutex
	count  int
	failed []error
}

// startCalls has each client make two calls at a time. Handlers must see their connection
// tracked and the credentials' own AuthInfo.
func startCalls(t *testing.T, all []*client, auth string) *calls {
	t.Helper()
	l := &calls{ended: make(chan struct{})}
	for _, c := range all {
		for range 2 {
			l.wg.Go(func() { l.run(t.Context(), c, facts{tracked: true, auth: auth}) })
		}
	}
	return l
}

func (l *calls) run(ctx context.Context, c *client, want facts) {
	for {
		select {
		case <-l.ended:
			return
		case <-time.After(time.Millisecond):
			l.note(call(ctx, c, want))
		}
	}
}

// call makes one call and checks what its handler saw.
func call(ctx context.Context, c *client, want facts) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := c.hello.Hi(ctx, &hellov1.HiRequest{ToWho: "caller"})
	if err == nil && res.GetMessage() != want.String() {
		return fmt.Errorf("the handler saw %s, want %s", res.GetMessage(), want)
	}
	return err
}

func (l *calls) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if err != nil {
		l.failed = append(l.failed, err)
	}
}

// stop ends the calls and checks that there were some and none failed.
func (l *calls) stop(t *testing.T) {
	t.Helper()
	close(l.ended)
	l.wg.Wait()
	if l.count == 0 || len(l.failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(l.failed), l.count, errors.Join(l.failed[:min(3, len(l.failed))]...))
	}
	t.Logf("%d calls", l.count)
}

// eventually waits until the status is as it should become.
func eventually(t *testing.T, bal *rebalance.Balancer, what string, ok func(*rebalance.Status) bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s := bal.Status(); ok(&s) {
			return
		}
	}
	s := bal.Status()
	t.Fatalf("it never came about that %s: %d connections, %d draining, %d tracked, GOAWAYs %v, closed %v",
		what, s.Connections, s.Draining, s.Tracked, s.GoAways, s.Closed)
}
