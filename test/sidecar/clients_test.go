package sidecar

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// callTimeout is long, so that a slow machine fails no call.
const callTimeout = 20 * time.Second

// client is an ordinary grpc-go client with one channel, and without retries and
// wait-for-ready, which could hide a failure.
type client struct {
	conn  *grpc.ClientConn
	every time.Duration

	mu       sync.Mutex
	last     map[string]time.Time // the last answer of each pod
	calls    int
	streams  int
	failures []string
}

type clients struct {
	all  []*client
	stop func()
}

// startClients starts n clients with round_robin, each from an address of its own. Each makes a
// unary call every so often and, beside them, one short stream after the other.
func startClients(t *testing.T, s *service, n int, every time.Duration) *clients {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cs := &clients{}
	var wg sync.WaitGroup
	for i := range n {
		c := &client{conn: dial(t, s.target(), fmt.Sprintf("127.45.%d.%d", s.net, i+1)), every: every, last: map[string]time.Time{}}
		cs.all = append(cs.all, c)
		wg.Go(func() { c.call(ctx) })
		wg.Go(func() { c.chat(ctx) })
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

func dial(t *testing.T, target, source string) *grpc.ClientConn {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (c *client) call(ctx context.Context) {
	stub := hellov1.NewHelloServiceClient(c.conn)
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		to, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		resp, err := stub.Hi(to, &hellov1.HiRequest{Message: "hello"})
		cancel()
		if err == nil && resp.GetMessage() != "hello" {
			err = fmt.Errorf("got the message %q", resp.GetMessage())
		}
		c.add("Hi", resp.GetPod(), err)
	}
}

// chat exchanges ten messages on each stream.
func (c *client) chat(ctx context.Context) {
	stub := hellov1.NewHelloServiceClient(c.conn)
	for ctx.Err() == nil {
		to, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		err := chatOnce(to, stub)
		cancel()
		c.add("Chat", "", err)
	}
}

func chatOnce(ctx context.Context, stub hellov1.HelloServiceClient) error {
	stream, err := stub.Chat(ctx)
	if err != nil {
		return err
	}
	for range 10 {
		if err := stream.Send(&hellov1.HiRequest{Message: "hello"}); err != nil {
			_, err = stream.Recv() // the error of the stream
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return stream.CloseSend()
}

func (c *client) add(what, pod string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.failures = append(c.failures, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), what, err))
	case pod == "":
		c.streams++
	default:
		c.calls++
		c.last[pod] = time.Now()
	}
}

// onAll reports whether each client was answered by just these pods within the last seconds.
func (cs *clients) onAll(pods int) bool {
	for _, c := range cs.all {
		c.mu.Lock()
		n := 0
		for _, at := range c.last {
			if time.Since(at) < 2*time.Second {
				n++
			}
		}
		c.mu.Unlock()
		if n != pods {
			return false
		}
	}
	return true
}

// check stops the clients. No call may have failed.
func (cs *clients) check(t *testing.T) (calls, streams int) {
	t.Helper()
	cs.stop()
	var failed []string
	for _, c := range cs.all {
		calls += c.calls
		streams += c.streams
		failed = append(failed, c.failures...)
	}
	if len(failed) > 0 {
		t.Errorf("%d of %d calls and %d streams failed, such as %s", len(failed), calls, streams, failed[0])
	}
	return calls, streams
}
