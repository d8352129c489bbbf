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
	// callPatience is long: what fails must have failed for a reason.
	callPatience = 10 * time.Second
)

// caller is an ordinary grpc-go client with one channel that calls steadily. It is
// told nothing that helps: no retry, no wait-for-ready.
type caller struct {
	conn *grpc.ClientConn

	mu       sync.Mutex
	pod      string // that answered last
	calls    int
	failures []string
}

// callers are all of one kind.
type callers struct {
	all  []*caller
	stop func()
}

// startCallers starts n with pick_first, each connecting to its front; those before
// the first have been started already.
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

// run calls until ctx is done. Its phase keeps the clients apart.
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
	ctx, cancel := context.WithTimeout(ctx, callPatience)
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

// join makes one of the callers of both.
func (c *callers) join(other *callers) *callers {
	return &callers{all: slices.Concat(c.all, other.all), stop: func() { c.stop(); other.stop() }}
}

// come waits until each has been answered.
func (c *callers) come(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "the clients do not come", func() bool {
		n := 0
		for _, m := range c.perPod() {
			n += m
		}
		return n == len(c.all)
	})
}

// perPod is how many clients each pod answered last: for those with one connection
// each, the connections. Pods that answered nobody are missing.
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

// counts is perPod for settle: by the clients' own account.
func (c *callers) counts([]rebalance.Status) map[string]int { return c.perPod() }

// check ends the clients; no RPC may have failed.
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

// show is a distribution for people.
func show(perPod map[string]int) string {
	var out []string
	for _, pod := range slices.Sorted(maps.Keys(perPod)) {
		out = append(out, fmt.Sprintf("%s:%d", pod, perPod[pod]))
	}
	return strings.Join(out, " ")
}
