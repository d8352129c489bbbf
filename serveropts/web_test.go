package serveropts_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c" //nolint:staticcheck // deprecated, and in use
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// webKind is a way to serve HTTP, and clients for it.
type webKind struct {
	proto   int // the major version that clients must get
	scheme  string
	prepare func(*http.Server)
	serve   func(w *serveropts.WebServer, l net.Listener, cfg *tls.Config) error
}

func servePlain(w *serveropts.WebServer, l net.Listener, _ *tls.Config) error { return w.Serve(l) }
func serveTLS(w *serveropts.WebServer, l net.Listener, _ *tls.Config) error {
	return w.ServeTLS(l, "", "")
}

func only(set ...func(*http.Protocols, bool)) func(*http.Server) {
	return func(s *http.Server) {
		s.Protocols = new(http.Protocols)
		for _, f := range set {
			f(s.Protocols, true)
		}
	}
}

var webKinds = map[string]webKind{
	"HTTP/1.1":         {proto: 1, scheme: "http", serve: servePlain},
	"HTTP/1.1 and TLS": {proto: 1, scheme: "https", serve: serveTLS, prepare: only((*http.Protocols).SetHTTP1)},
	"h2c": {
		proto: 2, scheme: "http", serve: servePlain,
		prepare: only((*http.Protocols).SetHTTP1, (*http.Protocols).SetUnencryptedHTTP2),
	},
	"h2c of x/net": {
		proto: 2, scheme: "http", serve: servePlain,
		prepare: func(s *http.Server) { s.Handler = h2c.NewHandler(s.Handler, &http2.Server{}) }, //nolint:staticcheck // as above
	},
	"HTTP/2": {proto: 2, scheme: "https", serve: serveTLS},
	"HTTP/2 of x/net": {
		proto: 2, scheme: "https", serve: serveTLS,
		prepare: func(s *http.Server) { _ = http2.ConfigureServer(s, nil) }, //nolint:staticcheck // as above
	},
	"HTTP/2 on a listener with TLS": {
		proto: 2, scheme: "https",
		prepare: func(s *http.Server) { s.TLSConfig = nil },
		serve: func(w *serveropts.WebServer, l net.Listener, cfg *tls.Config) error {
			cfg = cfg.Clone()
			cfg.NextProtos = []string{"h2", "http/1.1"}
			return w.Serve(tls.NewListener(l, cfg))
		},
	},
}

// site is a running web server.
type site struct {
	kind webKind
	web  *serveropts.WebServer
	url  string
	tls  *tls.Config // of clients
}

// startSite serves h until the test ends.
func startSite(t *testing.T, bal *rebalance.Balancer, kind webKind, h http.Handler) *site {
	t.Helper()
	ca := certstest.NewCA(t, "ca")
	certPEM, keyPEM := ca.Issue("localhost", nil)
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	srv := &http.Server{Handler: h, TLSConfig: cfg.Clone()}
	if kind.scheme == "http" {
		srv.TLSConfig = nil
	}
	if kind.prepare != nil {
		kind.prepare(srv)
	}
	s := &site{
		kind: kind, web: serveropts.HTTPServer(bal, srv), url: kind.scheme + "://" + l.Addr().String(),
		tls: &tls.Config{InsecureSkipVerify: true},
	}
	done := make(chan error, 1)
	go func() { done <- kind.serve(s.web, l, cfg) }()
	t.Cleanup(func() {
		s.web.Stop()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v, want ErrServerClosed", err)
		}
	})
	return s
}

// transport returns a client of its own, with its own connections.
func (s *site) transport(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: s.tls.Clone(), Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(s.kind.proto == 1)
	tr.Protocols.SetHTTP2(s.kind.proto == 2)
	tr.Protocols.SetUnencryptedHTTP2(s.kind.proto == 2)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// get makes one request and returns the answer's body.
func (s *site) get(ctx context.Context, tr *http.Transport, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.ProtoMajor != s.kind.proto {
		err = errors.New("answered by " + res.Proto)
	}
	return string(body), err
}

// hello answers, after a moment on /slow, and reports what handlers must find.
func hello(w http.ResponseWriter, r *http.Request) {
	if !rebalance.SetKey(r.Context(), "the key of "+r.Header.Get("User-Agent")) || rebalance.Draining(r.Context()) == nil {
		http.Error(w, "not tracked", http.StatusInternalServerError)
		return
	}
	if _, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); !ok {
		http.Error(w, "no local address", http.StatusInternalServerError)
		return
	}
	if r.URL.Path == "/slow" {
		time.Sleep(3 * time.Millisecond)
	}
	if r.TLS != nil {
		_, _ = io.WriteString(w, "with TLS ")
	}
	_, _ = io.WriteString(w, "hello")
}

// webClients is the number of clients of each server, each with one caller and so one connection.
const webClients = 8

// drill drains a server while its clients call.
type drill struct {
	t    *testing.T
	bal  *rebalance.Balancer
	site *site

	calls atomic.Int64
	ended chan struct{}
	wg    sync.WaitGroup
}

// start starts the clients.
func (d *drill) start() {
	want := "hello"
	if d.site.kind.scheme == "https" {
		want = "with TLS hello"
	}
	for range webClients {
		tr := d.site.transport(d.t)
		d.wg.Go(func() { d.call(tr, want) })
	}
}

func (d *drill) call(tr *http.Transport, want string) {
	for {
		select {
		case <-d.ended:
			return
		default:
		}
		// A POST without a body: a client may not repeat it.
		body, err := d.site.get(d.t.Context(), tr, http.MethodPost, "/slow")
		if err != nil || body != want {
			d.t.Errorf("got %q, %v, want %q", body, err, want)
			return
		}
		d.calls.Add(1)
	}
}

// round drains every connection once, after each client has made some calls.
func (d *drill) round(n uint64) {
	d.t.Helper()
	d.await(func(st *rebalance.Status) bool {
		return st.Connections == webClients && st.Draining == 0 && st.Tracked >= n
	})
	before := d.calls.Load()
	for d.calls.Load() < before+10*webClients {
		time.Sleep(time.Millisecond)
	}
	if got := d.bal.DrainAll(d.t.Context()); got != webClients {
		d.t.Fatalf("DrainAll drained %d connections, want %d", got, webClients)
	}
	d.await(func(st *rebalance.Status) bool {
		return st.GoAways["manual"] == n && st.Connections == webClients && st.Draining == 0 && st.Tracked >= n+webClients && st.Keys == 1
	})
}

func (d *drill) await(ok func(*rebalance.Status) bool) {
	d.t.Helper()
	st := d.bal.Status()
	for range 1000 {
		if ok(&st) {
			return
		}
		time.Sleep(10 * time.Millisecond)
		st = d.bal.Status()
	}
	d.t.Fatalf("got %d connections, %d draining, %d tracked, GOAWAYs %v, closed %v", st.Connections, st.Draining, st.Tracked, st.GoAways, st.Closed)
}

// end stops the clients and the server.
func (d *drill) end() {
	d.t.Helper()
	close(d.ended)
	d.wg.Wait()
	if err := d.bal.Shutdown(d.t.Context(), d.site.web); err != nil {
		d.t.Error(err)
	}
	// net/http does not wait for a goroutine that is just closing its TLS connection.
	d.await(func(st *rebalance.Status) bool { return st.Connections == 0 })
	if st := d.bal.Status(); st.Closed["forced"] != 0 {
		d.t.Errorf("after Shutdown: closed %v", st.Closed)
	}
	d.t.Logf("%d requests", d.calls.Load())
}

// Every kind of server is drained while its clients call. No request fails, each connection is
// closed once, and each client comes back.
func TestWebDrains(t *testing.T) {
	const rounds = 3
	for name, kind := range webKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bal := balancer(t)
			d := &drill{t: t, bal: bal, site: startSite(t, bal, kind, http.HandlerFunc(hello)), ended: make(chan struct{})}
			d.start()
			for n := range rounds {
				d.round(uint64(webClients * (n + 1)))
			}
			// On a busy machine, Go's client may close a connection by itself: it waits for 50 ms
			// until its own goroutine has noted that a request was written.
			if st := bal.Status(); st.Closed["clean"]+st.Closed["client"] < rounds*webClients || st.Closed["forced"]+st.Closed["server"] != 0 || len(st.Conditions) != 0 {
				t.Errorf("got %v closed, conditions %v, want %d clean and none", st.Closed, st.Conditions, rounds*webClients)
			}
			d.end()
		})
	}
}

// A client in the server's own process is no client of a web server, either.
func TestWebInProcess(t *testing.T) {
	bal, inner, kind := balancer(t), serveropts.NewInProcess(), webKinds["h2c"]
	rpc := grpc.NewServer()
	health.Register(rpc, bal)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") == "application/grpc" {
			rpc.ServeHTTP(w, r)
			return
		}
		if rebalance.SetKey(r.Context(), "a key") {
			t.Error("the connection is tracked")
		}
	})}
	kind.prepare(srv)
	web, done := serveropts.HTTPServer(bal, srv), make(chan error, 1)
	go func() { done <- web.Serve(inner) }()
	defer func() { web.Stop(); <-done }()
	for _, proto := range []int{1, 2} {
		s := &site{kind: webKind{proto: proto}, url: "http://in.process", tls: &tls.Config{}}
		tr := s.transport(t)
		tr.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) { return inner.DialContext(ctx, addr) }
		if _, err := s.get(t.Context(), tr, http.MethodGet, "/"); err != nil {
			t.Error(err)
		}
	}
	checkInProcess(t, inner)
	if st := bal.Status(); st.Tracked != 0 || st.Connections != 0 || st.Untracked != 0 {
		t.Errorf("%d connections are tracked, and %d RPCs count as untracked, want none", st.Tracked, st.Untracked)
	}
}

// checkInProcess makes an RPC over the listener.
func checkInProcess(t *testing.T, inner *serveropts.InProcess) {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///in-process",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(inner.DialContext))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
}
