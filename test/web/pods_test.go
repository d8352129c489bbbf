package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// fleet is a set of pods, and the source of peers of each.
type fleet struct {
	t       *testing.T
	net     int // 127.30.net.0/24
	tracked bool
	cert    tls.Certificate
	ca      string // the file of cert
	opened  atomic.Int64
	served  atomic.Int64 // requests for /plain
	// maxAge is when a bare server ends a connection with an answer; 0: never.
	maxAge time.Duration
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu      sync.Mutex
	pods    []*pod
	reports []func(peers.Membership)
}

// pod is one pod with three listeners: HTTP without and with TLS, and gRPC.
type pod struct {
	addr          string
	plain, secure string // host:port
	bal           *rebalance.Balancer
	servers       []rebalance.Server
}

func newFleet(t *testing.T, network int, tracked bool) *fleet {
	t.Helper()
	f := &fleet{t: t, net: network, tracked: tracked}
	f.cert, f.ca = newCert(t, network)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	t.Cleanup(f.stop)
	return f
}

const healthPort = 8080

// Run makes the fleet a source of peers.
func (f *fleet) Run(ctx context.Context, report func(peers.Membership)) error {
	f.mu.Lock()
	f.reports = append(f.reports, report)
	f.mu.Unlock()
	report(f.members())
	<-ctx.Done()
	return nil
}

func (f *fleet) String() string { return "the fleet of the test" }

func (f *fleet) members() peers.Membership {
	f.mu.Lock()
	defer f.mu.Unlock()
	var m peers.Membership
	for _, p := range f.pods {
		m.Members = append(m.Members, peers.Member{Addrs: []netip.Addr{netip.MustParseAddr(p.addr)}})
	}
	return m
}

// grow starts pods until there are n.
func (f *fleet) grow(n int) {
	f.t.Helper()
	for i := len(f.pods); i < n; i++ {
		p := f.start(i + 1)
		f.mu.Lock()
		f.pods = append(f.pods, p)
		f.mu.Unlock()
	}
	f.mu.Lock()
	reports := slices.Clone(f.reports)
	f.mu.Unlock()
	for _, report := range reports {
		report(f.members())
	}
}

func (f *fleet) start(n int) *pod {
	f.t.Helper()
	p := &pod{addr: podAddr(f.net, n)}
	cfg := config.Default()
	var err error
	p.bal, err = rebalance.New(cfg, rebalance.WithPeers(f), rebalance.WithSelf(fmt.Sprintf("pod-%d", n), p.addr),
		rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		f.t.Fatal(err)
	}
	h := f.handler(p)
	plain := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	plain.Protocols.SetHTTP1(true)
	plain.Protocols.SetUnencryptedHTTP2(true)
	secure := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{f.cert}}}
	p.plain, p.secure = f.serve(p, plain, false), f.serve(p, secure, true)
	if f.tracked {
		l := f.listen(fmt.Sprintf("%s:%d", p.addr, healthPort))
		f.wg.Go(func() { _ = health.Serve(f.ctx, l, p.bal) })
		f.wg.Go(func() { _ = p.bal.Run(f.ctx) })
	}
	return p
}

func (f *fleet) listen(addr string) net.Listener {
	f.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		f.t.Fatal(err)
	}
	return l
}

// serve serves web, tracked or bare, and returns its address.
func (f *fleet) serve(p *pod, web *http.Server, secure bool) string {
	l := &counted{f.listen(p.addr + ":0"), &f.opened}
	f.limit(web)
	serve, serveTLS, srv := web.Serve, web.ServeTLS, rebalance.Server(bareServer{web})
	if f.tracked {
		w := serveropts.HTTPServer(p.bal, web)
		serve, serveTLS, srv = w.Serve, w.ServeTLS, w
	}
	p.servers = append(p.servers, srv)
	f.wg.Go(func() {
		var err error
		if secure {
			err = serveTLS(l, "", "")
		} else {
			err = serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			f.t.Error(err)
		}
	})
	return l.Addr().String()
}

// counted counts the connections that it accepts.
type counted struct {
	net.Listener

	n *atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return nc, err
}

// born is the key of the time when a connection was accepted.
type born struct{}

// limit lets a bare server end connections at maxAge, by the one means that net/http has: on HTTP/1.1
// the answer closes, and on HTTP/2 net/http sends a GOAWAY after it.
func (f *fleet) limit(web *http.Server) {
	if f.maxAge == 0 {
		return
	}
	next := web.Handler
	web.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, born{}, time.Now())
	}
	web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, ok := r.Context().Value(born{}).(time.Time); ok && time.Since(at) > f.maxAge {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// bareServer stops an http.Server without evenkeel.
type bareServer struct{ *http.Server }

func (b bareServer) GracefulStop() { _ = b.Shutdown(context.Background()) }
func (b bareServer) Stop()         { _ = b.Close() }

// handler serves plain HTTP, connect-go and gRPC, each of which answers with the name of the pod.
func (f *fleet) handler(p *pod) http.Handler {
	hi := func(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
		if tracked := rebalance.Draining(ctx) != nil; tracked != f.tracked {
			return nil, fmt.Errorf("the connection is tracked: %v", tracked)
		}
		return &hellov1.HiResponse{Pod: p.addr, FromWho: req.GetToWho()}, nil
	}
	rpc := grpc.NewServer(grpc.Creds(insecure.NewCredentials()))
	hellov1.RegisterHelloServiceServer(rpc, &service{hi: hi})
	mux := http.NewServeMux()
	mux.Handle(connectPath, connect.NewUnaryHandler(connectPath, func(ctx context.Context, req *connect.Request[hellov1.HiRequest]) (*connect.Response[hellov1.HiResponse], error) {
		res, err := hi(ctx, req.Msg)
		return connect.NewResponse(res), err
	}))
	mux.Handle("/hello.v1.HelloService/", rpc)
	mux.Handle("/clients/", http.FileServer(http.Dir("."))) // for browsers
	mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
		f.served.Add(1)
		if res, err := hi(r.Context(), nil); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		} else {
			_, _ = io.WriteString(w, res.GetPod())
		}
	})
	return mux
}

type service struct {
	hellov1.UnimplementedHelloServiceServer

	hi func(context.Context, *hellov1.HiRequest) (*hellov1.HiResponse, error)
}

func (s *service) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	return s.hi(ctx, req)
}

// dial connects from an address of the client's own to a random pod, as kube-proxy does.
func (f *fleet) dial(ctx context.Context, source string, secure bool) (net.Conn, error) {
	f.mu.Lock()
	p := f.pods[rand.IntN(len(f.pods))]
	f.mu.Unlock()
	to := p.plain
	if secure {
		to = p.secure
	}
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	return d.DialContext(ctx, "tcp", to)
}

// serving returns the connections of each pod that are not draining.
func (f *fleet) serving() (all []int) {
	for _, p := range f.pods {
		st := p.bal.Status()
		all = append(all, st.Connections-st.Draining)
	}
	return all
}

// goaways sums up the drains of all pods.
func (f *fleet) goaways() (n int) {
	for _, p := range f.pods {
		for _, m := range p.bal.Status().GoAways {
			n += int(m)
		}
	}
	return n
}

// even reports whether each pod is inside the band.
func (f *fleet) even() bool {
	all, sum := f.serving(), 0
	for _, n := range all {
		sum += n
	}
	mean := float64(sum) / float64(len(all))
	return float64(slices.Max(all)) <= 1.1*mean+1 && float64(slices.Min(all)) >= 0.7*mean-1
}

func (f *fleet) stop() {
	f.shrink(0)
	f.cancel()
	f.wg.Wait()
}

// shrink stops pods until n are left. They stop as those of Kubernetes do: first nothing connects
// to them any more.
func (f *fleet) shrink(n int) {
	f.mu.Lock()
	gone, reports := f.pods[n:], slices.Clone(f.reports)
	f.pods = f.pods[:n:n]
	f.mu.Unlock()
	if n > 0 {
		for _, report := range reports {
			report(f.members())
		}
	}
	var wg sync.WaitGroup
	for _, p := range gone {
		wg.Go(func() { f.stopPod(p) })
	}
	wg.Wait()
}

func (f *fleet) stopPod(p *pod) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if f.tracked {
		_ = p.bal.Shutdown(ctx, p.servers...)
	} else {
		for _, s := range p.servers {
			stopped := context.AfterFunc(ctx, s.Stop)
			s.GracefulStop()
			stopped()
		}
	}
	for _, s := range p.servers {
		s.Stop()
	}
}
