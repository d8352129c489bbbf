package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// herdReady is the line that a herd prints once all its connections are idle.
const herdReady = "idle"

// herdMain is the main function of a process of clients. It returns when its standard input ends,
// and so no later than its parent.
func herdMain(spec string) int {
	var h clients
	if _, err := fmt.Sscan(spec, &h.addr, &h.wire, &h.n, &h.rpcs); err != nil {
		fmt.Fprintln(os.Stderr, "herd:", err)
		return 2
	}
	if err := h.connect(); err != nil {
		fmt.Fprintln(os.Stderr, "herd:", err)
		return 1
	}
	fmt.Println(herdReady)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// clients are n ordinary grpc-go channels.
type clients struct {
	addr    string
	wire    wire
	n, rpcs int

	all []*grpc.ClientConn
}

// dialers is how many clients connect at the same time. The queue of a listener is longer.
const dialers = 32

func (h *clients) connect() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	h.all = make([]*grpc.ClientConn, h.n)
	errs := make([]error, dialers)
	var wg sync.WaitGroup
	for d := range dialers {
		wg.Go(func() {
			for i := d; i < h.n && errs[d] == nil; i += dialers {
				h.all[i], errs[d] = h.one(ctx)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// one connects, makes its calls and leaves the connection idle.
func (h *clients) one(ctx context.Context) (*grpc.ClientConn, error) {
	cc, err := grpc.NewClient("passthrough:///"+h.addr, grpc.WithTransportCredentials(clientCreds(h.wire)),
		grpc.WithIdleTimeout(0))
	if err != nil {
		return nil, err
	}
	cc.Connect()
	for s := cc.GetState(); s != connectivity.Ready; s = cc.GetState() {
		if !cc.WaitForStateChange(ctx, s) {
			return nil, ctx.Err()
		}
	}
	// The calls have no deadline. The runtime removes stopped timers only later, and until then
	// each would keep a stream of the server alive.
	return cc, unary(context.WithoutCancel(ctx), hellov1.NewHelloServiceClient(cc), h.rpcs)
}
