package singlehomed

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	// callEvery is the pause of each client between two calls.
	callEvery = 400 * time.Millisecond
	// callTimeout is long, so that a slow machine fails no call.
	callTimeout = 10 * time.Second
)

// caller is an ordinary grpc-go client with one channel that calls steadily. It has no retries
// and no wait-for-ready that could hide a failure.
type caller struct {
	conn *grpc.ClientConn

	mu       sync.Mutex
	pod      string // the pod that answered last
	calls    int
	failures []string
}

// callers is a set of clients.
type callers struct {
	all  []*caller
	stop func()
}

// startCallers starts n clients with pick_first, each connected to its own front. The first
// client has number first.
func startCallers(t *testing.T, vip clusterIP, first, n int) *callers {
	t.Helper()
	return start(t, n, "pick_first", func(i int) (target, source string) {
		addr, source := vip.front(first + i)
		return "passthrough:///" + addr, source
	})
}

func start(t *testing.T, n int, policy string, where func(i int) (target, source string)) *callers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &callers{}
	var wg sync.WaitGroup
	for i := range n {
		target, source := where(i)
		one := &caller{conn: dial(t, target, policy, source)}
		c.all = append(c.all, one)
		wg.Go(func() { one.run(ctx, callEvery*time.Duration(i)/time.Duration(n)) })
	}
	c.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		for _, one := range c.all {
			one.conn.Close()
		}
	})
	t.Cleanup(c.stop)
	return c
}

func dial(t *testing.T, target, policy, source string) *grpc.ClientConn {
	t.Helper()
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)),
	}
	if source != "" {
		d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", addr)
		}))
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// run calls until ctx is done. The phase spreads the clients' calls over callEvery.
func (c *caller) run(ctx context.Context, phase time.Duration) {
	stub := hellov1.NewHelloServiceClient(c.conn)
	next := time.NewTimer(phase)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(callEvery)
		c.call(context.WithoutCancel(ctx), stub)
	}
}

func (c *caller) call(ctx context.Context, stub hellov1.HelloServiceClient) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := stub.Hi(ctx, &hellov1.HiRequest{ToWho: "you", Message: "hi"})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failures = append(c.failures, time.Now().Format("15:04:05.000 ")+err.Error())
		return
	}
	c.calls++
	c.pod = resp.GetPod()
}

// join returns the union of both sets.
func (c *callers) join(other *callers) *callers {
	return &callers{all: slices.Concat(c.all, other.all), stop: func() { c.stop(); other.stop() }}
}

// awaitAnswers waits until each client has got an answer.
func (c *callers) awaitAnswers(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "not all clients have got an answer", func() bool {
		n := 0
		for _, m := range c.perPod() {
			n += m
		}
		return n == len(c.all)
	})
}

// perPod counts the clients by the pod that answered them last. For single-homed clients these
// are the connections. Pods that no client reached are missing.
func (c *callers) perPod() map[string]int {
	n := map[string]int{}
	for _, one := range c.all {
		one.mu.Lock()
		n[one.pod]++
		one.mu.Unlock()
	}
	delete(n, "")
	return n
}

// counts is perPod in the form that settle expects.
func (c *callers) counts([]rebalance.Status) map[string]int { return c.perPod() }

// check stops the clients and fails the test if an RPC failed.
func (c *callers) check(t *testing.T) {
	t.Helper()
	c.stop()
	calls := 0
	var failures []string
	for i, one := range c.all {
		calls += one.calls
		for _, f := range one.failures {
			failures = append(failures, fmt.Sprintf("client %d: %s", i, f))
		}
	}
	if len(failures) > 0 {
		t.Errorf("%d of %d RPCs failed:\n%s", len(failures), calls+len(failures), strings.Join(failures[:min(len(failures), 20)], "\n"))
	}
	t.Logf("%d RPCs, %d failed", calls+len(failures), len(failures))
}

// show formats a distribution.
func show(perPod map[string]int) string {
	var out []string
	for _, pod := range slices.Sorted(maps.Keys(perPod)) {
		out = append(out, fmt.Sprintf("%s:%d", pod, perPod[pod]))
	}
	return strings.Join(out, " ")
}
