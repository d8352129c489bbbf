// Command server runs three servers of the hello service, each on its own loopback address and
// built as a user would build it. They drain all their connections again and again, one server
// after the other.
//
// Once it serves it prints one line of JSON with its addresses. On each health endpoint,
// POST /stop-draining ends the drains, and GET /served returns the number of calls that the
// three servers have served. SIGTERM ends the servers.
//
// With -bare the servers are without evenkeel, and their connections end by MaxConnectionAge. With
// -dns the servers are pods of a service: they drain what evenkeel decides, and no more.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/health/metrics"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// readHeaderTimeout is how long a request to a health endpoint may take to arrive.
const readHeaderTimeout = 5 * time.Second

type flags struct {
	bare        bool
	addrs       string
	every, work time.Duration
	cert, key   string
	watchPeriod time.Duration
	chatPace    time.Duration
	maxStreams  uint
	dns         string
	httpPort    int
	together    bool
}

func main() {
	var f flags
	flag.BoolVar(&f.bare, "bare", false, "serve without evenkeel, with MaxConnectionAge as long as -every")
	flag.StringVar(&f.addrs, "addrs", "127.0.4.1:0,127.0.4.2:0,127.0.4.3:0", "addresses to serve gRPC on")
	flag.DurationVar(&f.every, "every", 2*time.Second, "how often each server drains its connections")
	flag.DurationVar(&f.work, "work", 4*time.Millisecond, "how long a unary call takes")
	flag.DurationVar(&f.watchPeriod, "watch-period", time.Second, "time between the messages of Watch")
	flag.DurationVar(&f.chatPace, "chat-pace", 0, "how long a message of Chat takes")
	flag.UintVar(&f.maxStreams, "max-streams", 0, "MAX_CONCURRENT_STREAMS of each server; 0 for no limit")
	flag.BoolVar(&f.together, "together", false, "drain the connections of all servers at the same moment")
	flag.StringVar(&f.dns, "dns", "", "`address` of the DNS server that lists all pods of hello.test; empty: they do not know each other")
	flag.IntVar(&f.httpPort, "http-port", 0, "port of the health endpoints; 0: any")
	flag.StringVar(&f.cert, "tls-cert", "", "certificate `file`; empty for plaintext")
	flag.StringVar(&f.key, "tls-key", "", "key `file` of the certificate")
	flag.Parse()
	if err := run(f); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(f flags) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	addrs := strings.Split(f.addrs, ",")
	if f.bare {
		return runBare(ctx, f, addrs)
	}
	var pods []*pod
	var st state
	for i, addr := range addrs {
		p, err := newPod(f, f.podName(i), addr, &st)
		if err != nil {
			return err
		}
		pods = append(pods, p)
	}
	var wg sync.WaitGroup
	// Run and the health endpoint outlive ctx, since Shutdown still needs them.
	background, cancel := context.WithCancel(context.Background())
	for _, p := range pods {
		wg.Go(func() { p.serve(background, &st) })
	}
	if err := announce(pods); err != nil {
		cancel()
		return err
	}
	switch {
	case f.together:
		drainTogether(ctx, f.every, pods, &st.stopped)
	case f.dns == "":
		drainAlternately(ctx, f.every, pods, &st.stopped)
	}
	<-ctx.Done()
	err := shutdown(pods)
	cancel()
	wg.Wait()
	return err
}

// podName returns the name of the i-th pod. Those of a service are alone in their process, so their
// addresses tell them apart.
func (f *flags) podName(i int) string {
	if f.dns != "" {
		return "pod-" + strings.ReplaceAll(f.addrs, ":", "-")
	}
	return fmt.Sprintf("pod-%d", i+1)
}

// state is shared by the three servers.
type state struct {
	stopped atomic.Bool
	served  atomic.Int64
}

func (st *state) showServed(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, st.served.Load()) }

// pod is one server as a user would build it.
type pod struct {
	bal        *rebalance.Balancer
	srv        *grpc.Server
	grpc, http net.Listener
}

func newPod(f flags, name, addr string, st *state) (*pod, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	// Nothing is read from the environment or a file.
	bal, err := rebalance.Load(config.Layers{Set: f.settings(), Env: []string{}}, rebalance.WithSelf(name, host))
	if err != nil {
		return nil, err
	}
	opts, err := serverOptions(f, bal)
	if err != nil {
		return nil, err
	}
	p := &pod{bal: bal, srv: grpc.NewServer(opts...)}
	hellov1.RegisterHelloServiceServer(p.srv, newHello(f, name, st))
	health.Register(p.srv, bal)
	p.grpc, p.http, err = listen(addr, f.httpPort)
	return p, err
}

// settings are those of a pod.
func (f *flags) settings() []string {
	set := []string{"shutdown.timeout=10s"}
	if f.dns != "" {
		set = append(set, "peers.source=dns", "peers.dns.name=hello.test.", "peers.dns.server="+f.dns, "peers.dns.interval=1s")
	}
	return set
}

// listen returns a listener for gRPC at addr and one for the health endpoint on the same host.
func listen(addr string, httpPort int) (grpc, web net.Listener, err error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	if grpc, err = net.Listen("tcp", addr); err != nil {
		return nil, nil, err
	}
	web, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(httpPort)))
	return grpc, web, err
}

func serverOptions(f flags, bal *rebalance.Balancer) ([]grpc.ServerOption, error) {
	creds := insecure.NewCredentials()
	if f.cert != "" {
		var err error
		if creds, err = credentials.NewServerTLSFromFile(f.cert, f.key); err != nil {
			return nil, err
		}
	}
	opts := serveropts.Options(bal, creds)
	if f.maxStreams > 0 {
		opts = append(opts, grpc.MaxConcurrentStreams(uint32(f.maxStreams)))
	}
	return opts, nil
}

// serve runs the servers of a pod until ctx is done.
func (p *pod) serve(ctx context.Context, st *state) {
	mux := http.NewServeMux()
	port := netip.MustParseAddrPort(p.http.Addr().String()).Port()
	mux.Handle("/", health.Handler(p.bal, health.WithPort(int(port)), health.WithMetrics(metrics.Handler(p.bal))))
	mux.HandleFunc("POST /stop-draining", func(http.ResponseWriter, *http.Request) { st.stopped.Store(true) })
	mux.HandleFunc("GET /served", st.showServed)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout}
	var wg sync.WaitGroup
	wg.Go(func() { logError("run", p.bal.Run(ctx)) })
	wg.Go(func() { logError("grpc", p.srv.Serve(p.grpc)) })
	wg.Go(func() { logError("http", web.Serve(p.http)) })
	<-ctx.Done()
	logError("http close", web.Close())
	wg.Wait()
}

func logError(what string, err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "server:", what, err)
	}
}

// Ready is the line that the process prints once it serves.
type Ready struct {
	GRPC []string `json:"grpc"`
	HTTP []string `json:"http"`
}

func (r *Ready) add(grpc, web net.Listener) {
	r.GRPC = append(r.GRPC, grpc.Addr().String())
	r.HTTP = append(r.HTTP, web.Addr().String())
}

func (r *Ready) print() error { return json.NewEncoder(os.Stdout).Encode(r) }

func announce(pods []*pod) error {
	var r Ready
	for _, p := range pods {
		r.add(p.grpc, p.http)
	}
	return r.print()
}

// drainAlternately drains all connections of one server after the other. The servers alternate,
// since two GOAWAYs at the same time can use up a client's single transparent retry.
func drainAlternately(ctx context.Context, every time.Duration, pods []*pod, stopped *atomic.Bool) {
	tick := time.NewTicker(every / time.Duration(len(pods)))
	defer tick.Stop()
	for i := 0; !stopped.Load(); i++ {
		select {
		case <-tick.C:
			pods[i%len(pods)].bal.DrainAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// drainTogether drains all connections of all servers again and again, so that a client gets several
// GOAWAYs within a few milliseconds.
func drainTogether(ctx context.Context, every time.Duration, pods []*pod, stopped *atomic.Bool) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !stopped.Load() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var wg sync.WaitGroup
		for _, p := range pods {
			wg.Go(func() { p.bal.DrainAll(ctx) })
		}
		wg.Wait()
	}
}

func shutdown(pods []*pod) error {
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, p := range pods {
		wg.Go(func() { errs[i] = p.bal.Shutdown(context.Background(), p.srv) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
