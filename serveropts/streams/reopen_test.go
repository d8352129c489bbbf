package streams

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// greet sends the client's own address and waits.
func greet(ss grpc.ServerStream) error {
	p, _ := peer.FromContext(ss.Context())
	if err := ss.SendMsg(wrapperspb.String(p.Addr.String())); err != nil {
		return err
	}
	return until(ss)
}

// A client that opens its stream again at once, whatever RetryInfo says, gets another connection:
// it has read the GOAWAY before the end. Otherwise its next stream would be ended, too.
func TestClientReadsGoAwayBeforeTheEnd(t *testing.T) {
	const clients, drains = 20, 5
	bal, err := rebalance.New(config.Default(), rebalance.WithSelf("pod-a", "127.0.0.1"), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	polite, err := StreamServerInterceptor(OnDrain(nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(append(serveropts.Options(bal, insecure.NewCredentials()), grpc.ChainStreamInterceptor(polite))...)
	srv.RegisterService(handlers{"Watch": greet}.desc(), nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var open, ended, same atomic.Int32
	for range clients {
		cc, err := grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		wg.Go(func() {
			for last := ""; ctx.Err() == nil; {
				last = follow(ctx, t, cc, last, &open, &same)
				ended.Add(1)
			}
		})
	}
	for i := range drains {
		for end := time.Now().Add(20 * time.Second); open.Load() < clients && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if n := bal.DrainAll(ctx); n != clients || ended.Load() != int32(i*clients) {
			t.Errorf("drain %d: %d connections and %d streams ended before, want %d and %d", i, n, ended.Load(), clients, i*clients)
		}
		for end := time.Now().Add(20 * time.Second); ended.Load() < int32((i+1)*clients) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	wg.Wait()
	srv.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if same.Load() != 0 {
		t.Errorf("%d streams began on the connection of the one before", same.Load())
	}
}

// follow reads a stream to its end, and returns the address from which the client came.
func follow(ctx context.Context, t *testing.T, cc *grpc.ClientConn, last string, open, same *atomic.Int32) string {
	st, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/test.Streams/Watch")
	if err != nil {
		return last
	}
	m := new(wrapperspb.StringValue)
	if err := st.RecvMsg(m); err != nil {
		if ctx.Err() == nil {
			t.Errorf("no message came: %v", err)
		}
		return last
	}
	if m.GetValue() == last {
		same.Add(1)
	}
	open.Add(1)
	defer open.Add(-1)
	if err := st.RecvMsg(new(wrapperspb.StringValue)); ctx.Err() == nil {
		(&rig{t: t}).polite(st, err, whyDrained)
	}
	return m.GetValue()
}
