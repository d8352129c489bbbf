package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// busyPod is a busy pod of a large fleet, with a name as long as Kubernetes allows. Its load by
// connections is what Connections and Draining say, so it is left out.
type busyPod struct{ *fake }

func (busyPod) Report([]string) peerz.Report {
	return peerz.Report{
		Pod: "hello-production-backend-" + strings.Repeat("x", 22) + "-7d4b9c6f5d-abcde", Ready: true, UptimeMillis: 3_888_000_123,
		Generation: 117, Connections: 12_345, Draining: 123, Streams: 45_678, Reaching: true, Overloaded: true,
		Cores: 2.5, Relief: 0.635,
		Place: peerz.Place{Zone: "northamerica-northeast1-a", Revision: "7d4b9c6f5d", SaltCheck: "0f1e"},
		Loads: map[string]float64{"requests": 123_456.789, "streams": 45_678.912, "custom": 123_456.789},
	}
}

// countingListener counts the bytes of its connections in both directions.
type countingListener struct {
	net.Listener

	bytes atomic.Int64
}

type countingConn struct {
	net.Conn

	bytes *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	return countingConn{nc, &l.bytes}, err
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// bytesPerPoll polls the pod n times, over one connection or a new one each time. It returns
// the bytes of one request and its answer on the wire.
func bytesPerPoll(t *testing.T, src source, clientTLS func() *tls.Config, n int, fresh bool) int {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &countingListener{Listener: inner}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln, "test", src, newOptions(nil)) }()
	client := &peerz.Client{TLS: clientTLS, Timeout: time.Minute}
	for range n {
		if _, err := client.Ask(ctx, inner.Addr().String(), nil); err != nil {
			t.Fatal(err)
		}
		if fresh {
			client.Close()
		}
	}
	client.Close()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return int(ln.bytes.Load()) / n
}

// The traffic of reports is bounded per pod and second, whatever the size of the fleet. Each
// pod polls a handful of peers a second, and is polled as often on average.
func TestBytesOfAFleet(t *testing.T) {
	const handful, most = 8, 10_000 // rebalance's pollHandful
	src := busyPod{newFake(sampleStatus(epoch))}
	kept, fresh := bytesPerPoll(t, src, nil, 20, false), bytesPerPoll(t, src, nil, 20, true)
	perSecond := 2 * handful * fresh
	t.Logf("one poll: %d bytes on a kept connection, %d on a fresh one; at 1,000 pods %d bytes per pod and second", kept, fresh, perSecond)
	if perSecond > most || kept > fresh {
		t.Errorf("one poll takes %d bytes, %d on a kept connection: got %d bytes per second, want at most %d", fresh, kept, perSecond, most)
	}
	if fresh < 300 {
		t.Errorf("got %d bytes for a request and its answer, want at least 300: some were not counted", fresh)
	}

	ca := certstest.NewCA(t, "ca")
	bal := withPeersTLS(t, podMount(t, ca, nil))
	src.tls = TLSConfig(bal)
	kept, fresh = bytesPerPoll(t, src, clientOf(t, ca, nil), 20, false), bytesPerPoll(t, src, clientOf(t, ca, nil), 20, true)
	t.Logf("with TLS: %d bytes on a kept connection, sharing the handshake among 20, %d on a fresh one", kept, fresh)
}

func podMount(t *testing.T, ca *certstest.CA, change func(*x509.Certificate)) *certstest.Mount {
	t.Helper()
	cert, key := ca.Issue("pod-a", change)
	return certstest.NewMount(t, cert, key, ca.PEM)
}

func withPeersTLS(t *testing.T, m *certstest.Mount) *rebalance.Balancer {
	t.Helper()
	cfg := config.Default()
	cfg.Peers.TLS = config.PeersTLS{Cert: m.Files.Cert, Key: m.Files.Key, CA: m.Files.CA}
	bal, err := rebalance.New(cfg, rebalance.WithSelf("pod-a", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return bal
}

// clientOf returns the client configuration of a pod with a certificate from ca, adjusted by
// change.
func clientOf(t *testing.T, ca *certstest.CA, change func(*x509.Certificate)) func() *tls.Config {
	t.Helper()
	cert, key := ca.Issue("pod-b", change)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}
	return func() *tls.Config { return cfg }
}

// serveBalancer serves the health port of bal until the test ends.
func serveBalancer(t *testing.T, bal *rebalance.Balancer) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, bal) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// A kubelet and Prometheus have no certificate and verify nothing. They may read everything
// but /peerz, which answers with what it requires.
func TestPeersTLSRestrictsOnlyPeerz(t *testing.T) {
	addr := serveBalancer(t, withPeersTLS(t, podMount(t, certstest.NewCA(t, "ca"), nil)))
	for _, h2 := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2,
		}}
		for _, path := range paths {
			res, err := client.Get("https://" + addr + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if (res.ProtoMajor == 2) != h2 {
				t.Errorf("%s: got protocol %s", path, res.Proto)
			}
			want, text := http.StatusOK, ""
			switch path {
			case "/metrics":
				want = http.StatusNotImplemented // no WithMetrics
			case "/peerz":
				want, text = http.StatusForbidden, "/peerz requires a client certificate signed by peers.tls.ca: the client presented no certificate"
			}
			if res.StatusCode != want || !strings.Contains(string(body), text) {
				t.Errorf("%s: got %d %.200s, want %d %s", path, res.StatusCode, body, want, text)
			}
		}
		client.CloseIdleConnections()
	}
	res, err := http.Get("http://" + addr + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: got %s, want 400", res.Status)
	}
}

func TestPeerzRequiresACertificate(t *testing.T) {
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	addr := serveBalancer(t, withPeersTLS(t, podMount(t, ca, nil)))
	for name, tc := range map[string]struct {
		tls  func() *tls.Config
		want string
	}{
		"a pod":       {clientOf(t, ca, nil), ""},
		"expired":     {clientOf(t, ca, certstest.Expired), "certificate has expired"},
		"another CA":  {clientOf(t, other, nil), "signed by unknown authority"},
		"server only": {clientOf(t, ca, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), "incompatible key usage"},
		"none":        {func() *tls.Config { return skipVerify }, "the client presented no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			client := &peerz.Client{TLS: tc.tls, Timeout: time.Minute}
			defer client.Close()
			rep, err := client.Ask(t.Context(), addr, nil)
			if tc.want == "" {
				if err != nil || rep.Pod != "pod-a" {
					t.Errorf("got %+v, %v; want the report of pod-a", rep, err)
				}
				return
			}
			if peerz.ClassOf(err) != peerz.TLS || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v (%s), want %q", err, peerz.ClassOf(err), tc.want)
			}
		})
	}
}

var skipVerify = &tls.Config{InsecureSkipVerify: true}

// pipeListener listens inside a bubble. Unlike bufconn, it supports the deadlines that TLS
// needs.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }
func (l *pipeListener) Close() error   { close(l.closed); return nil }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

// A connection made with old certificates ends within a minute, between two requests.
func TestConnectionsDoNotOutliveTheirCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certstest.NewCA(t, "ca")
		ln := &pipeListener{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		bal := withPeersTLS(t, podMount(t, ca, nil))
		go func() { done <- serve(ctx, ln, "test", sourceOf(bal), newOptions(nil)) }()
		var dialed atomic.Int32
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig: clientOf(t, ca, nil)(),
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				dialed.Add(1)
				return ln.dial(), nil
			},
		}}
		for i := range 150 {
			res, err := client.Get("https://pod-a/peerz")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Fatal(res.Status)
			}
			if want := int32(i/61 + 1); dialed.Load() != want {
				t.Errorf("after %d s: got %d connections, want %d", i, dialed.Load(), want)
			}
			time.Sleep(time.Second)
		}
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTLSConfigBesidePeersTLSIsRefused(t *testing.T) {
	src := newFake(sampleStatus(epoch))
	src.tls = &tls.Config{}
	if _, err := newServer(src, newOptions([]Option{WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{{}}})})); err == nil ||
		!strings.Contains(err.Error(), "peers.tls") {
		t.Errorf("got %v, want an error that names peers.tls", err)
	}
}
