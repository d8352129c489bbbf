package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
	"github.com/evenkeel-go/evenkeel/serveropts/streams"
)

// serverKind is a kind of server to compare.
type serverKind string

const (
	bare     serverKind = "bare"
	evenkeel serverKind = "evenkeel"
	// ownKeys is evenkeel with a key for each connection. Otherwise the clients here share one
	// address, and so one key, which is cheaper.
	ownKeys serverKind = "evenkeel-own-keys"
	// intercepted is bare with an interceptor that does nothing. The tests must notice its cost.
	intercepted serverKind = "intercepted"
	// streamIntercepted is bare with a stream interceptor that does nothing. grpc-go itself
	// allocates once for each stream of such a server.
	streamIntercepted serverKind = "stream-intercepted"
	// politeOthers is evenkeel with streams.StreamServerInterceptor, whose rules match none of the
	// streams here. politeAll has rules that match all of them, politeSelf with SelfEnding.
	politeOthers serverKind = "polite-others"
	politeAll    serverKind = "polite-all"
	politeSelf   serverKind = "polite-self"
)

// compared returns the two servers of a benchmark in the order of this round.
func compared() []serverKind {
	kinds := []serverKind{bare, evenkeel}
	if round%2 == 1 {
		slices.Reverse(kinds)
	}
	return kinds
}

// wire is the transport of a connection.
type wire string

const (
	tcp      wire = "tcp"
	overTLS  wire = "tls"
	inMemory wire = "bufconn"
)

func wires() []wire { return []wire{tcp, overTLS, inMemory} }

// newServer returns a server of the given kind, made as a user would make it.
func newServer(tb testing.TB, kind serverKind, w wire) *grpc.Server {
	tb.Helper()
	var opts []grpc.ServerOption
	switch kind {
	case bare, intercepted, streamIntercepted:
		if creds := serverCreds(tb, w); creds != nil {
			opts = append(opts, grpc.Creds(creds))
		}
		if kind == intercepted {
			opts = append(opts, grpc.UnaryInterceptor(passUnary))
		}
		if kind != bare {
			opts = append(opts, grpc.StreamInterceptor(passStream))
		}
	default:
		bal := newBalancer(tb, kind)
		creds := serverCreds(tb, w)
		if creds == nil {
			creds = insecure.NewCredentials()
		}
		opts = serveropts.Options(bal, creds)
		if rules := politeRules(kind); rules != nil {
			polite, err := streams.StreamServerInterceptor(rules...)
			must(tb, err)
			opts = append(opts, grpc.ChainStreamInterceptor(polite))
		}
	}
	srv := grpc.NewServer(opts...)
	hellov1.RegisterHelloServiceServer(srv, &hello{})
	return srv
}

// politeRules returns the options of streams.StreamServerInterceptor for a kind of server.
func politeRules(kind serverKind) []streams.Option {
	switch kind {
	case politeOthers:
		return []streams.Option{streams.OnDrain(streams.Methods("/news.v1.News/*"), 0), streams.MaxAge(streams.Methods("/news.v1.News/*"), time.Hour)}
	case politeAll:
		return []streams.Option{streams.OnDrain(nil, 0), streams.MaxAge(nil, time.Hour)}
	case politeSelf:
		return []streams.Option{streams.OnDrain(nil, 0), streams.MaxAge(nil, time.Hour), streams.SelfEnding(nil)}
	}
	return nil
}

// newBalancer returns a Balancer that runs, as in a pod.
func newBalancer(tb testing.TB, kind serverKind) *rebalance.Balancer {
	tb.Helper()
	// A line of the log would stand in the middle of a benchmark's, which benchstat then skips.
	opts := []rebalance.Option{rebalance.WithSelf("pod-a", "127.0.0.1"), rebalance.WithLogger(slog.New(slog.DiscardHandler))}
	if kind == ownKeys {
		opts = append(opts, rebalance.WithKey(func(i rebalance.ConnInfo) string { return i.RemoteAddr.String() }))
	}
	bal, err := rebalance.New(config.Default(), opts...)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bal.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return bal
}

func passUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	return h(ctx, req)
}

func passStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	return h(srv, ss)
}

// dialer connects to a listener.
type dialer func(context.Context, string) (net.Conn, error)

// listen serves srv and returns its address, and a dialer if the transport is not TCP.
func listen(tb testing.TB, srv *grpc.Server, w wire) (string, dialer) {
	tb.Helper()
	var lis net.Listener
	var dial dialer
	addr := "bufconn"
	if w == inMemory {
		mem := bufconn.Listen(1 << 20)
		lis, dial = mem, func(ctx context.Context, _ string) (net.Conn, error) { return mem.DialContext(ctx) }
	} else {
		var err error
		if lis, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			tb.Fatal(err)
		}
		addr = lis.Addr().String()
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	tb.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return addr, dial
}

// dial returns a client of a new server.
func dial(tb testing.TB, kind serverKind, w wire) hellov1.HelloServiceClient {
	tb.Helper()
	addr, d := listen(tb, newServer(tb, kind, w), w)
	opts := []grpc.DialOption{grpc.WithTransportCredentials(clientCreds(w))}
	if d != nil {
		opts = append(opts, grpc.WithContextDialer(d))
	}
	cc, err := grpc.NewClient("passthrough:///"+addr, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := cc.Close(); err != nil {
			tb.Error(err)
		}
	})
	return hellov1.NewHelloServiceClient(cc)
}

// clientCreds accept any certificate, since the server is on loopback.
func clientCreds(w wire) credentials.TransportCredentials {
	if w == overTLS {
		return credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	return insecure.NewCredentials()
}

func serverCreds(tb testing.TB, w wire) credentials.TransportCredentials {
	tb.Helper()
	if w != overTLS {
		return nil
	}
	cert, err := certificate()
	if err != nil {
		tb.Fatal(err)
	}
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
}

var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

// hello answers without any work, so that only the path to the handler is measured.
type hello struct {
	hellov1.UnimplementedHelloServiceServer
}

func answer(req *hellov1.HiRequest) *hellov1.HiResponse {
	return &hellov1.HiResponse{FromWho: req.GetToWho(), Message: req.GetMessage(), Pod: "pod-a"}
}

func (*hello) Hi(_ context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	return answer(req), nil
}

// Watch sends as many answers as the number in the message.
func (*hello) Watch(req *hellov1.HiRequest, stream grpc.ServerStreamingServer[hellov1.HiResponse]) error {
	n, err := strconv.Atoi(req.GetMessage())
	if err != nil {
		return err
	}
	for range n {
		if err := stream.Send(answer(req)); err != nil {
			return err
		}
	}
	return nil
}

func (*hello) Chat(stream grpc.BidiStreamingServer[hellov1.HiRequest, hellov1.HiResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(answer(req)); err != nil {
			return err
		}
	}
}
