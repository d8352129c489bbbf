package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
)

var chaosFor = flag.Duration("chaos", 3*time.Second, "how long connections are drained under load, for each case")

// raw is a codec for messages that are bytes already.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

// startGRPC is an upstream that sends back each message of each stream, and counts streams.
func startGRPC(t *testing.T) (addr string, served *atomic.Int64) {
	t.Helper()
	served = new(atomic.Int64)
	srv := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		served.Add(1)
		for {
			var m []byte
			if err := stream.RecvMsg(&m); err != nil {
				if err == io.EOF {
					return nil
				}
				return err
			}
			if err := stream.SendMsg(&m); err != nil {
				return err
			}
		}
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Stop(); <-ended })
	return ln.Addr().String(), served
}

// load makes RPCs until ctx is done. Each exchanges a few messages of changing sizes.
type load struct {
	mu     sync.Mutex
	calls  int
	failed []error
}

func (l *load) run(ctx context.Context, conn *grpc.ClientConn, worker int) {
	for n := worker; ctx.Err() == nil; n++ {
		err := one(conn, n)
		l.mu.Lock()
		l.calls++
		if err != nil {
			l.failed = append(l.failed, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
		}
		l.mu.Unlock()
	}
}

func one(conn *grpc.ClientConn, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Test/Echo", grpc.ForceCodecV2(raw{}))
	if err != nil {
		return err
	}
	for i := range 1 + n%3 {
		m := make([]byte, []int{10, 1000, 100000}[(n+i)%3])
		m[0] = byte(n)
		if err := stream.SendMsg(&m); err != nil && err != io.EOF {
			return err
		}
		var got []byte
		if err := stream.RecvMsg(&got); err != nil {
			return err
		}
		if len(got) != len(m) || got[0] != m[0] {
			return fmt.Errorf("got %d bytes, want the %d sent", len(got), len(m))
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	var m []byte
	if err := stream.RecvMsg(&m); err != io.EOF {
		return fmt.Errorf("the stream ended with %w, want the end", err)
	}
	return nil
}

// No RPC is lost or executed twice while all connections are drained again and again.
func TestChaos(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Issue("pod", nil)
	files := certstest.NewMount(t, cert, key, ca.PEM)
	for _, tc := range []struct {
		name  string
		flags []string
		creds credentials.TransportCredentials
	}{
		{"plaintext", nil, insecure.NewCredentials()},
		{"TLS", []string{"-tls-cert", files.Files.Cert, "-tls-key", files.Files.Key}, credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			upstream, served := startGRPC(t)
			s := start(t, upstream, tc.flags...)
			s.awaitReady(t)
			ctx, cancel := context.WithTimeout(t.Context(), *chaosFor)
			defer cancel()
			var l load
			var wg sync.WaitGroup
			for range 4 {
				conn, err := grpc.NewClient("passthrough:///"+s.listen, grpc.WithTransportCredentials(tc.creds))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for i := range 4 {
					wg.Go(func() { l.run(ctx, conn, i) })
				}
			}
			drained := 0
			for ctx.Err() == nil {
				drained += s.bal.DrainAll(ctx)
				time.Sleep(100 * time.Millisecond) // more often than any client resolves
			}
			wg.Wait()
			t.Logf("%d RPCs, %d drains", l.calls, drained)
			if len(l.failed) > 0 {
				t.Errorf("%d of %d RPCs failed, such as %v", len(l.failed), l.calls, l.failed[0])
			}
			if n := int(served.Load()); n != l.calls {
				t.Errorf("the upstream has served %d RPCs, want %d", n, l.calls)
			}
			if drained < 5 {
				t.Errorf("%d drains, want at least 5", drained)
			}
		})
	}
}
