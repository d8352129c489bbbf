package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

const connectPath = "/connect.v1.HelloService/Hi"

// call makes one call and returns the pod that has answered.
type call func(context.Context) (pod string, err error)

// kind is a kind of client. Each client has one call at a time, and so one connection.
type kind struct {
	name string
	make func(f *fleet, source string) (c call, end func())
}

// transport returns a client with its own connections.
func transport(f *fleet, source string, proto int, secure bool) *http.Transport {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dial(ctx, source, secure) }
	tr := &http.Transport{
		DialContext: dial, Protocols: new(http.Protocols),
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	tr.Protocols.SetHTTP1(proto == 1)
	tr.Protocols.SetHTTP2(proto == 2)
	tr.Protocols.SetUnencryptedHTTP2(proto == 2)
	return tr
}

// overHTTP requests with POST, which a client must not repeat.
func overHTTP(proto int, secure bool) func(*fleet, string) (call, func()) {
	return func(f *fleet, source string) (call, func()) {
		tr, url := transport(f, source, proto, secure), "http://pods/plain"
		if secure {
			url = "https://pods/plain"
		}
		return func(ctx context.Context) (string, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(bytes.NewReader([]byte("hi"))))
			if err != nil {
				return "", err
			}
			res, err := tr.RoundTrip(req)
			if err != nil {
				return "", err
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", res.Status, body)
			}
			return string(body), err
		}, tr.CloseIdleConnections
	}
}

func overConnect(proto int, opts ...connect.ClientOption) func(*fleet, string) (call, func()) {
	return func(f *fleet, source string) (call, func()) {
		tr := transport(f, source, proto, false)
		c := connect.NewClient[hellov1.HiRequest, hellov1.HiResponse](&http.Client{Transport: tr}, "http://pods"+connectPath, opts...)
		return func(ctx context.Context) (string, error) {
			res, err := c.CallUnary(ctx, connect.NewRequest(&hellov1.HiRequest{}))
			if err != nil {
				return "", err
			}
			return res.Msg.GetPod(), nil
		}, tr.CloseIdleConnections
	}
}

func overGRPC(f *fleet, source string) (call, func()) {
	cc, err := grpc.NewClient("passthrough:///pods", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.dial(ctx, source, false) }))
	if err != nil {
		f.t.Fatal(err)
	}
	c := hellov1.NewHelloServiceClient(cc)
	return func(ctx context.Context) (string, error) {
		res, err := c.Hi(ctx, &hellov1.HiRequest{})
		return res.GetPod(), err
	}, func() { _ = cc.Close() }
}

var kinds = []kind{
	{"net/http, HTTP/1.1", overHTTP(1, false)},
	{"net/http, HTTP/1.1 with TLS", overHTTP(1, true)},
	{"net/http, HTTP/2 with TLS", overHTTP(2, true)},
	{"connect-go, Connect over HTTP/1.1", overConnect(1)},
	{"connect-go, gRPC over h2c", overConnect(2, connect.WithGRPC())},
	{"grpc-go to ServeHTTP", overGRPC},
}

// load is the clients of all kinds under way.
type load struct {
	stop func()

	mu     sync.Mutex
	calls  map[string]int
	failed map[string]int
	errors []error
}

const (
	perKind   = 12
	callEvery = 100 * time.Millisecond
)

func startLoad(f *fleet) *load {
	l := &load{calls: map[string]int{}, failed: map[string]int{}}
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for k, kind := range kinds {
		for i := range perKind {
			c, end := kind.make(f, fmt.Sprintf("127.31.%d.%d", f.net, 1+k*perKind+i))
			wg.Go(func() {
				defer end()
				tick := time.NewTicker(callEvery)
				defer tick.Stop()
				for {
					select {
					case <-ended:
						return
					case <-tick.C:
						l.one(kind.name, c)
					}
				}
			})
		}
	}
	l.stop = sync.OnceFunc(func() { close(ended); wg.Wait() })
	f.t.Cleanup(l.stop)
	return l
}

func (l *load) one(kind string, c call) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := c(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[kind]++
	if err != nil {
		l.failed[kind]++
		l.errors = append(l.errors, fmt.Errorf("%s: %w", kind, err))
	}
}

// report logs the calls of each kind and checks that none failed.
func (l *load) report(t *testing.T) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(l.calls)) {
		t.Logf("%-36s %5d calls, %d failed", kind, l.calls[kind], l.failed[kind])
	}
	for _, err := range l.errors[:min(len(l.errors), 10)] {
		t.Error(err)
	}
}

// Clients of every kind follow a growth from two to five pods. Each is drained by a GOAWAY or a
// last answer, and nothing fails.
func TestGrowth(t *testing.T) {
	f := newFleet(t, 1, true)
	f.grow(2)
	l := startLoad(f)
	await(t, f, "two pods are even", func() bool { return f.even() && sum(f.serving()) == perKind*len(kinds) })
	time.Sleep(5 * time.Second) // the pods' reports, and whatever evens out two
	before := f.goaways()
	t.Logf("2 pods: %v connections, %d drained", f.serving(), before)
	begun := time.Now()
	f.grow(5)
	await(t, f, "five pods are even", func() bool { return f.even() && sum(f.serving()) == perKind*len(kinds) })
	took, moved := time.Since(begun), f.goaways()-before
	t.Logf("5 pods: even after %.1f s: %v connections, %d drained, %.2f per connection", took.Seconds(), f.serving(), moved, float64(moved)/float64(perKind*len(kinds)))
	if moved == 0 || moved > 2*perKind*len(kinds) {
		t.Errorf("%d of %d connections were drained", moved, perKind*len(kinds))
	}
	l.stop()
	l.report(t)
}

// The same load on bare servers.
func TestBare(t *testing.T) {
	f := newFleet(t, 2, false)
	f.grow(2)
	l := startLoad(f)
	time.Sleep(5 * time.Second)
	f.grow(5)
	time.Sleep(15 * time.Second)
	l.stop()
	l.report(t)
}

func sum(all []int) (n int) {
	for _, m := range all {
		n += m
	}
	return n
}

// await waits until ok is true.
func await(t *testing.T, f *fleet, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			for _, p := range f.pods {
				st := p.bal.Status()
				t.Logf("%s: %s: %s", st.Pod, st.Verdict, st.Why)
			}
			t.Fatalf("it never came about that %s: %v", what, f.serving())
		}
	}
}
