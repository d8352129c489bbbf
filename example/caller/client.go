// Package caller is an ordinary grpc-go client of the hello service, such as the
// users of a service already have. It knows nothing of evenkeel, and nothing in it
// is there to help evenkeel.
//
// It is not in package main so that programs with other resolvers can use it, and
// so that the demo can run it in processes of its own.
package caller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// Exit statuses of Main.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// Main runs the whole program and returns its exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "client:", strings.ReplaceAll(err.Error(), "\n", "; "))
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if o.duration > 0 {
		// This is no deadline: streams would carry one to the server, and fail when
		// it passes.
		defer time.AfterFunc(o.duration, stop).Stop()
	}
	c, err := dial(&o)
	if err != nil {
		fmt.Fprintln(stderr, "client:", err)
		return exitUsage
	}
	defer c.close()
	total := c.run(ctx, stdout)
	if o.fail && total.Failures > 0 {
		return exitFail
	}
	return exitOK
}

// client is a set of channels and the tally of their calls.
type client struct {
	o     *options
	conns []io.Closer
	stubs []hellov1.HelloServiceClient
	tally *tally
}

func dial(o *options) (*client, error) {
	if o.http {
		return dialGateway(o), nil
	}
	creds := insecure.NewCredentials()
	if o.tlsCA != "" {
		var err error
		if creds, err = credentials.NewClientTLSFromFile(o.tlsCA, ""); err != nil {
			return nil, fmt.Errorf("-tls-ca: %w", err)
		}
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, o.lb)),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(o.waitForReady)),
	}
	c := &client{o: o, tally: newTally(time.Now())}
	opts = append(opts, grpc.WithStatsHandler(connCounter{c.tally}))
	for i := range o.channels {
		own := opts
		if o.source != "" {
			d := o.dialer(i)
			own = append(slices.Clone(opts), grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
				return d.DialContext(ctx, "tcp", addr)
			}))
		}
		conn, err := grpc.NewClient(o.target, own...)
		if err != nil {
			c.close()
			return nil, fmt.Errorf("-target: %w", err)
		}
		c.conns = append(c.conns, conn)
		c.stubs = append(c.stubs, hellov1.NewHelloServiceClient(conn))
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// run makes calls until ctx is done, waits for those in flight, and returns the
// total.
func (c *client) run(ctx context.Context, out io.Writer) *report {
	printCtx, stopPrinting := context.WithCancel(context.WithoutCancel(ctx))
	var printer sync.WaitGroup
	if c.o.json {
		printer.Go(func() { c.printEach(printCtx, out) })
	}
	switch c.o.method {
	case methodHi:
		c.callAll(ctx)
	default:
		c.streamAll(ctx)
	}
	stopPrinting()
	printer.Wait()
	c.tally.cut(time.Now())
	total := c.tally.total
	total.Total = true
	if c.o.json {
		total.printJSON(out)
	} else {
		total.print(out)
	}
	return total
}

// printEach prints a report for each interval until ctx is done. Intervals begin at
// whole multiples of their length on the clock, so that those of several clients
// coincide.
func (c *client) printEach(ctx context.Context, out io.Writer) {
	for {
		next := time.Now().Truncate(c.o.every).Add(c.o.every)
		wake := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			wake.Stop()
			c.tally.cut(time.Now()).printJSON(out)
			return
		case <-wake.C:
			c.tally.cut(next).printJSON(out)
		}
	}
}

// toWho is the recipient of every greeting.
const toWho = "you"

// maxInFlight bounds the calls that pile up behind a server that does not answer.
const maxInFlight = 1000

// callAll starts calls at the given rate, each on the next channel. It does not wait
// for answers: a slow pod must not slow down the calls to the others.
func (c *client) callAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxInFlight)
	pause := time.Duration(float64(time.Second) / c.o.rate)
	due := time.NewTimer(0)
	defer due.Stop()
	next := time.Now()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
		next = next.Add(pause)
		due.Reset(time.Until(next))
		select {
		case slots <- struct{}{}:
		default:
			c.tally.skipped()
			continue
		}
		stub := c.stubs[i%len(c.stubs)]
		wg.Go(func() {
			defer func() { <-slots }()
			c.call(context.WithoutCancel(ctx), stub)
		})
	}
}

// call makes one Hi call. ctx does not end with the client, so that calls in flight
// can finish.
func (c *client) call(ctx context.Context, stub hellov1.HelloServiceClient) {
	if c.o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.o.timeout)
		defer cancel()
	}
	resp, err := stub.Hi(ctx, &hellov1.HiRequest{ToWho: toWho, Message: "hi"})
	if err != nil {
		c.tally.failed(err)
		return
	}
	c.tally.answered(resp.GetPod())
}

// streamAll keeps one stream open on each channel.
func (c *client) streamAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, stub := range c.stubs {
		wg.Go(func() { c.keepStream(ctx, stub) })
	}
}

// reopenAfter keeps a client from opening streams in a tight loop against a server
// that refuses them.
const reopenAfter = 100 * time.Millisecond

// keepStream reopens its stream whenever it ends.
func (c *client) keepStream(ctx context.Context, stub hellov1.HelloServiceClient) {
	open := c.watch
	if c.o.method == methodChat {
		open = c.chat
	}
	for ctx.Err() == nil {
		if err := open(ctx, stub); err != nil && ctx.Err() == nil {
			c.tally.failed(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(reopenAfter):
		}
	}
}

func (c *client) watch(ctx context.Context, stub hellov1.HelloServiceClient) error {
	stream, err := stub.Watch(ctx, &hellov1.HiRequest{ToWho: toWho, Message: "watch"})
	if err != nil {
		return err
	}
	return c.receive(stream)
}

// chat sends messages at its share of the rate while it receives answers.
func (c *client) chat(ctx context.Context, stub hellov1.HelloServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := stub.Chat(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { c.talk(ctx, stream) })
	return c.receive(stream)
}

// talk sends messages until the stream ends. receive returns the reason why it ended.
func (c *client) talk(ctx context.Context, stream hellov1.HelloService_ChatClient) {
	tick := time.NewTicker(time.Duration(float64(time.Second) * float64(len(c.stubs)) / c.o.rate))
	defer tick.Stop()
	for stream.Send(&hellov1.HiRequest{ToWho: toWho, Message: "chat"}) == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *client) receive(stream grpc.ServerStreamingClient[hellov1.HiResponse]) error {
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.tally.answered(resp.GetPod())
	}
}
