package main

import (
	"context"
	"errors"
	"math"
	"net"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

const (
	idleConns = 10
	// idleBuffer is the size of the server's read buffers: so large that they stand out from
	// all else on the heap.
	idleBuffer = 8 << 20
	// idleWithin is how soon the buffers must be gone after the last RPC.
	idleWithin = 5 * time.Second
)

// idle checks that grpc-go holds no read buffer for tracked idle connections. It finds out
// by an interface of its own, which internal/h2conn implements, whether it can do without.
//
// The control is a server whose connections lack that method: it must hold one buffer for
// each, or else this check sees nothing.
func idle(ctx context.Context, o *options) (bool, error) {
	good := true
	for _, w := range wires() {
		held, err := held(ctx, tracked, w)
		if err != nil {
			return false, err
		}
		o.printf("%-9s  %d read buffers held for %d idle tracked connections\n", w, held, idleConns)
		good = good && held == 0
	}
	held, err := held(ctx, bare, plaintext, grpc.Creds(hiding{insecure.NewCredentials()}))
	if err != nil {
		return false, err
	}
	o.printf("%-9s  %d read buffers held for %d idle connections without ReadOnReady\n", "control", held, idleConns)
	return good && held == idleConns, nil
}

// hiding hides all but the methods of net.Conn.
type hiding struct {
	credentials.TransportCredentials
}

func (h hiding) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	return struct{ net.Conn }{conn}, info, err
}

// held returns how many read buffers a server holds for idle connections, each of which has had one RPC.
func held(ctx context.Context, kind serverKind, w wire, opts ...grpc.ServerOption) (int, error) {
	s, err := serve(kind, w, append(opts, grpc.ReadBufferSize(idleBuffer))...)
	if err != nil {
		return 0, err
	}
	before := heap()
	for range idleConns {
		cc, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(clientCreds(w)))
		if err != nil {
			return 0, errors.Join(err, s.stop())
		}
		defer cc.Close()
		if _, err := testpb.NewTestServiceClient(cc).EmptyCall(ctx, &testpb.Empty{}); err != nil {
			return 0, errors.Join(err, s.stop())
		}
	}
	buffers := func() int { return int(math.Round((heap() - before) / idleBuffer)) }
	for deadline := time.Now().Add(idleWithin); buffers() > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // a transport gives its buffer back soon after the RPC
	}
	return buffers(), errors.Join(s.tracks(), s.stop())
}

// heap returns how many bytes are on the heap. Two collections empty a sync.Pool.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
