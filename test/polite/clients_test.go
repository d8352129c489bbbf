package polite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// client is an ordinary single-homed client (pick_first) with an address of its own. It has one
// stream, which never ends by itself, and opens it again when the server has ended it.
type client struct {
	conn  *grpc.ClientConn
	names *manual.Resolver
	chat  bool // a bidi stream on which it waits; otherwise a server stream

	mu       sync.Mutex
	pods     []string // what DNS answers
	pod      string   // where its stream is; empty: it has none
	ended    int      // how often its stream was ended politely
	lost     time.Time
	longest  time.Duration // without a stream
	failures []string
}

// clients is a set of clients.
type clients struct {
	all  []*client
	stop func()
}

// startClients starts n clients, evenly over the pods.
func startClients(t *testing.T, n int, pods []string) *clients {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	cs := &clients{}
	for i := range n {
		c := newClient(t, i, pods[i%len(pods)])
		cs.all = append(cs.all, c)
		wg.Go(func() { c.run(ctx) })
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

func newClient(t *testing.T, i int, first string) *client {
	t.Helper()
	c := &client{names: manual.NewBuilderWithScheme("pods"), chat: i%2 == 1}
	c.names.ResolveNowCallback = func(resolver.ResolveNowOptions) { go c.answer() }
	c.names.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: first}}})
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 41, 0, byte(i+1))}}
	conn, err := grpc.NewClient("pods:///", grpc.WithResolvers(c.names), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"pick_first":{}}]}`),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	c.conn = conn
	return c
}

// answer gives the client what DNS answers now, in an order of chance as a DNS server does.
func (c *client) answer() {
	c.mu.Lock()
	pods := c.pods
	c.mu.Unlock()
	if len(pods) == 0 {
		return
	}
	var addrs []resolver.Address
	for _, i := range rand.Perm(len(pods)) {
		addrs = append(addrs, resolver.Address{Addr: pods[i]})
	}
	c.names.UpdateState(resolver.State{Addresses: addrs})
}

// publish changes what DNS answers to all clients.
func (cs *clients) publish(pods []string) {
	for _, c := range cs.all {
		c.mu.Lock()
		c.pods = pods
		c.mu.Unlock()
		c.answer()
	}
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.follow(ctx)
		c.mu.Lock()
		c.pod, c.lost = "", time.Now()
		c.mu.Unlock()
		c.pause(ctx, err)
	}
}

// pause obeys the RetryInfo of a polite end. Anything else is a failure.
func (c *client) pause(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	st := status.Convert(err)
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok && st.Code() == codes.Unavailable {
			c.mu.Lock()
			c.ended++
			c.mu.Unlock()
			time.Sleep(info.GetRetryDelay().AsDuration()) // the client's own wait, not a synchronization
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, time.Now().Format("15:04:05.000 ")+err.Error())
}

// follow opens a stream and reads it to its end.
func (c *client) follow(ctx context.Context) error {
	stub := hellov1.NewHelloServiceClient(c.conn)
	recv, err := open(ctx, stub, c.chat)
	if err != nil {
		return err
	}
	for {
		m, err := recv()
		if err != nil {
			return err
		}
		c.got(m.GetPod())
	}
}

// got notes the pod that has the stream, and for how long the client had none.
func (c *client) got(pod string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pod == "" && !c.lost.IsZero() {
		c.longest = max(c.longest, time.Since(c.lost))
	}
	c.pod = pod
}

func open(ctx context.Context, stub hellov1.HelloServiceClient, chat bool) (recv func() (*hellov1.HiResponse, error), err error) {
	if !chat {
		st, err := stub.Watch(ctx, &hellov1.HiRequest{})
		if err != nil {
			return nil, err
		}
		return st.Recv, nil
	}
	st, err := stub.Chat(ctx)
	if err != nil {
		return nil, err
	}
	return st.Recv, st.Send(&hellov1.HiRequest{}) // the pod answers, and waits for more
}

// perPod counts the clients by the pod that has their stream.
func (cs *clients) perPod() map[string]int {
	n := map[string]int{}
	for _, c := range cs.all {
		c.mu.Lock()
		n[c.pod]++
		c.mu.Unlock()
	}
	return n
}

// sum returns how many streams were ended politely, the longest wait for another, and failures.
func (cs *clients) sum() (ended int, longest time.Duration, failures []string) {
	for i, c := range cs.all {
		c.mu.Lock()
		ended += c.ended
		longest = max(longest, c.longest)
		for _, f := range c.failures {
			failures = append(failures, fmt.Sprintf("client %d: %s", i, f))
		}
		c.mu.Unlock()
	}
	return ended, longest, failures
}
