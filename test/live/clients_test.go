package live

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

const (
	// callEvery is the pause of a busy client between two calls.
	callEvery = 400 * time.Millisecond
	// callTimeout is long, so that a slow machine fails no call.
	callTimeout = 10 * time.Second
)

// client is an ordinary grpc-go client with one channel, and without retries and
// wait-for-ready, which could hide a failure.
type client struct {
	conn    *grpc.ClientConn
	idle    bool // calls once only
	timeout time.Duration

	mu       sync.Mutex
	pod      string // which answered last
	answers  []answer
	failures []failure
}

type answer struct {
	at  time.Time
	pod string
}

type failure struct {
	at   time.Time
	pod  string // the address of the pod that had the RPC; empty: none had it
	text string
}

// clients is a set of clients.
type clients struct {
	all  []*client
	stop func()
}

// start starts n clients with a policy. Client i connects from the address that source returns.
func start(t *testing.T, n int, policy, target string, idle bool, source func(i int) string) *clients {
	t.Helper()
	return startHasty(t, n, policy, target, idle, callTimeout, source)
}

// startHasty is start with a timeout of its own for each call.
func startHasty(t *testing.T, n int, policy, target string, idle bool, timeout time.Duration, source func(i int) string) *clients {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cs := &clients{}
	var wg sync.WaitGroup
	for i := range n {
		c := &client{conn: dial(t, target, policy, source(i)), idle: idle, timeout: timeout}
		cs.all = append(cs.all, c)
		wg.Go(func() { c.run(ctx, callEvery*time.Duration(i)/time.Duration(n)) })
	}
	cs.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		for _, c := range cs.all {
			c.conn.Close()
		}
	})
	t.Cleanup(cs.stop)
	return cs
}

// from returns addresses of clients in network number net, from first on.
func from(net, first int) func(i int) string {
	return func(i int) string { return fmt.Sprintf("127.43.%d.%d", net, first+i) }
}

func dial(t *testing.T, target, policy, source string) *grpc.ClientConn {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// run calls until ctx is done. The phase spreads the clients' calls.
func (c *client) run(ctx context.Context, phase time.Duration) {
	stub := hellov1.NewHelloServiceClient(c.conn)
	next := time.NewTimer(phase)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		c.call(context.WithoutCancel(ctx), stub)
		if !c.idle {
			next.Reset(callEvery)
		}
	}
}

func (c *client) call(ctx context.Context, stub hellov1.HelloServiceClient) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var at peer.Peer
	resp, err := stub.Hi(ctx, &hellov1.HiRequest{}, grpc.Peer(&at))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.pod = resp.GetPod()
		c.answers = append(c.answers, answer{time.Now(), c.pod})
		return
	}
	f := failure{at: time.Now(), text: err.Error()}
	if at.Addr != nil {
		f.pod = at.Addr.String()
	}
	c.failures = append(c.failures, f)
}

// and returns the union of both sets.
func (cs *clients) and(more *clients) *clients {
	return &clients{all: slices.Concat(cs.all, more.all), stop: func() { cs.stop(); more.stop() }}
}

// perPod counts the clients by the pod that answered last.
func (cs *clients) perPod() map[string]int {
	n := map[string]int{}
	for _, c := range cs.all {
		c.mu.Lock()
		n[c.pod]++
		c.mu.Unlock()
	}
	return n
}

// calls counts the answered calls by pod, since a moment.
func (cs *clients) calls(since time.Time) map[string]int {
	n := map[string]int{}
	for _, c := range cs.all {
		c.mu.Lock()
		for _, a := range slices.Backward(c.answers) {
			if a.at.Before(since) {
				break
			}
			n[a.pod]++
		}
		c.mu.Unlock()
	}
	return n
}

// onAll reports how many clients have been answered by each of the pods since a moment.
func (cs *clients) onAll(since time.Time, pods ...string) (n int) {
	for _, c := range cs.all {
		one := (&clients{all: []*client{c}}).calls(since)
		if !slices.ContainsFunc(pods, func(pod string) bool { return one[pod] == 0 }) {
			n++
		}
	}
	return n
}

// awaitAnswers waits until each client has had an answer.
func (cs *clients) awaitAnswers(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "not all clients have got an answer", func() bool { return cs.perPod()[""] == 0 })
}

// check stops the clients and fails the test if an RPC failed, except those on a pod that may
// fail them.
func (cs *clients) check(t *testing.T, except ...string) {
	t.Helper()
	cs.stop()
	calls, excused := 0, 0
	var bad []string
	for i, c := range cs.all {
		calls += len(c.answers) + len(c.failures)
		for _, f := range c.failures {
			if slices.Contains(except, f.pod) {
				excused++
				continue
			}
			bad = append(bad, fmt.Sprintf("client %d at %s, pod %q: %s", i, f.at.Format("15:04:05.000"), f.pod, f.text))
		}
	}
	if len(bad) > 0 {
		t.Errorf("%d of %d RPCs failed:\n%s", len(bad), calls, strings.Join(bad[:min(len(bad), 20)], "\n"))
	}
	t.Logf("%d RPCs, %d failed, %d more on pods that were killed", calls, len(bad), excused)
}
