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

// Every kind of server is drained while its clients call. No request fails, each connection is
// closed once, and each client comes back.
func TestWebDrains(t *testing.T) {
	const clients = 8
	for name, kind := range webKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bal := balancer(t)
			s := startSite(t, bal, kind, http.HandlerFunc(hello))
			want := "hello"
			if kind.scheme == "https" {
				want = "with TLS hello"
			}
			var calls, stop atomic.Int64
			var wg sync.WaitGroup
			for range clients {
				tr := s.transport(t)
				wg.Go(func() {
					for stop.Load() == 0 {
						// A POST without a body: a client may not repeat it.
						body, err := s.get(t.Context(), tr, http.MethodPost, "/slow")
						if err != nil || body != want {
							t.Errorf("got %q, %v, want %q", body, err, want)
							return
						}
						calls.Add(1)
					}
				})
			}
			status := func(ok func(*rebalance.Status) bool) {
				t.Helper()
				st := bal.Status()
				for range 1000 {
					if ok(&st) {
						return
					}
					time.Sleep(10 * time.Millisecond)
					st = bal.Status()
				}
				t.Fatalf("got %d connections, %d draining, %d tracked, GOAWAYs %v, closed %v", st.Connections, st.Draining, st.Tracked, st.GoAways, st.Closed)
			}
			for round := range 3 {
				n := uint64(clients * (round + 1))
				status(func(st *rebalance.Status) bool {
					return st.Connections == clients && st.Draining == 0 && st.Tracked >= n
				})
				before := calls.Load()
				for calls.Load() < before+10*clients {
					time.Sleep(time.Millisecond)
				}
				if got := bal.DrainAll(t.Context()); got != clients {
					t.Fatalf("DrainAll drained %d connections, want %d", got, clients)
				}
				status(func(st *rebalance.Status) bool {
					return st.GoAways["manual"] == n && st.Connections == clients && st.Draining == 0 && st.Tracked >= n+clients && st.Keys == 1
				})
			}
			// On a busy machine, Go's client may close a connection by itself: it waits for 50 ms
			// until its own goroutine has noted that a request was written.
			if st := bal.Status(); st.Closed["clean"]+st.Closed["client"] < 3*clients || st.Closed["forced"]+st.Closed["server"] != 0 || len(st.Conditions) != 0 {
				t.Errorf("got %v closed, conditions %v, want %d clean and none", st.Closed, st.Conditions, 3*clients)
			}
			stop.Store(1)
			wg.Wait()
			if err := bal.Shutdown(t.Context(), s.web); err != nil {
				t.Error(err)
			}
			if st := bal.Status(); st.Connections != 0 || st.Closed["forced"] != 0 {
				t.Errorf("after Shutdown: %d connections, closed %v", st.Connections, st.Closed)
			}
			t.Logf("%d requests", calls.Load())
		})
	}
}
