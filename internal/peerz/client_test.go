package peerz

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// peer starts a pod's health endpoint that ends with the test.
func peer(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// client returns one whose connections end with the test.
func client(t *testing.T, timeout time.Duration) *Client {
	t.Helper()
	c := &Client{Timeout: timeout}
	t.Cleanup(c.Close)
	return c
}

// long is above any time that a test takes: for what must not depend on a clock.
const long = time.Minute

func TestAsk(t *testing.T) {
	keys := hashes(3)
	addr := peer(t, Handler(func(asked []string) Report {
		rep := good
		rep.Keys = map[string]int{}
		for i, key := range asked[:2] {
			rep.Keys[key] = i + 1
		}
		return rep
	}))
	var c Client // its zero value works
	defer c.Close()
	got, err := c.Ask(t.Context(), addr, keys)
	want := good
	want.Keys = map[string]int{keys[0]: 1, keys[1]: 2}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestManyKeysTakeSeveralRequests(t *testing.T) {
	keys := hashes(2*MaxKeys + 1)
	var requests atomic.Int32
	addr := peer(t, Handler(func(asked []string) Report {
		requests.Add(1)
		rep := good
		rep.Connections += len(asked)
		rep.Keys = map[string]int{}
		for _, key := range asked {
			rep.Keys[key] = 1
		}
		return rep
	}))
	got, err := client(t, long).Ask(t.Context(), addr, keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Keys) != len(keys) || requests.Load() != 3 {
		t.Errorf("%d of %d keys after %d requests", len(got.Keys), len(keys), requests.Load())
	}
	if got.Connections != good.Connections+1 {
		t.Errorf("%d connections: not the totals of the last answer", got.Connections)
	}
}

// A pod that takes over the address between two requests is not added up.
func TestTwoPodsAreNotOne(t *testing.T) {
	var n atomic.Int32
	addr := peer(t, Handler(func([]string) Report {
		rep := good
		rep.Pod = fmt.Sprint("pod-", n.Add(1))
		return rep
	}))
	if _, err := client(t, long).Ask(t.Context(), addr, hashes(MaxKeys+1)); ClassOf(err) != WrongPod {
		t.Errorf("got %v, want %s", err, WrongPod)
	}
}

// serveJSON writes a head of application/json.
func jsonHead(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/json") }

func goodBody(t *testing.T) []byte {
	t.Helper()
	body, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// Peers that misbehave at once; none of these may depend on a timeout.
func TestPeersThatMisbehave(t *testing.T) {
	body := goodBody(t)
	for name, tc := range map[string]struct {
		why  string
		peer http.HandlerFunc
	}{
		"garbage":  {JSON, func(w http.ResponseWriter, _ *http.Request) { jsonHead(w); fmt.Fprint(w, "\x00\xff{") }},
		"a page":   {JSON, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") }},
		"no type":  {JSON, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; w.Write(body) }},
		"other":    {Nonsense, func(w http.ResponseWriter, _ *http.Request) { jsonHead(w); fmt.Fprint(w, `{"status":"up"}`) }},
		"404":      {Status, http.NotFound},
		"503":      {Status, func(w http.ResponseWriter, _ *http.Request) { jsonHead(w); w.WriteHeader(503); w.Write(body) }},
		"204":      {Status, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		"redirect": {Status, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		"headers":  {Other, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }},
		"cut off":  {Other, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"half an answer": {Other, func(w http.ResponseWriter, _ *http.Request) {
			jsonHead(w)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:len(body)/2])
		}},
		"encoded": {JSON, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("asked for encoding %q", r.Header.Get("Accept-Encoding"))
			}
			jsonHead(w)
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.CopyN(z, zeros{}, 10<<20)
			z.Close()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rep, err := client(t, long).Ask(t.Context(), peer(t, tc.peer), nil)
			checkError(t, rep, err, tc.why)
		})
	}
}

func checkError(t *testing.T, rep Report, err error, why string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Class != why || ClassOf(err) != why {
		t.Errorf("got %v (%s), want %s", err, ClassOf(err), why)
	}
	if !reflect.DeepEqual(rep, Report{}) {
		t.Errorf("an error and a report: %+v", rep)
	}
	if err != nil && (len(err.Error()) > 300 || !strings.Contains(err.Error(), "127.0.0.1")) {
		t.Errorf("%d characters, or not naming the peer: %.300s", len(err.Error()), err)
	}
}

// zeros reads as spaces, which JSON allows in any number.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// The reader must leave long before the writer is through.
func TestAHugeAnswerIsNotRead(t *testing.T) {
	const huge = 100 << 20
	sent := make(chan int64, 1)
	addr := peer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		jsonHead(w)
		n, _ := io.CopyN(w, zeros{}, huge)
		sent <- n
	}))
	rep, err := client(t, long).Ask(t.Context(), addr, nil)
	checkError(t, rep, err, Size)
	if n := <-sent; n >= huge {
		t.Errorf("%d bytes were taken", n)
	}
}

// An answer of a newer pod, with fields that we do not know and the longest keys,
// is not too large.
func TestTheLargestAnswerFits(t *testing.T) {
	var keys []string
	counts := make(map[string]int)
	for i := range MaxKeys {
		keys = append(keys, fmt.Sprintf("%064x", i))
		counts[keys[i]] = maxConnections
	}
	addr := peer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		jsonHead(w)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"pod": strings.Repeat("x", maxPodLen), "ready": true, "uptimeMillis": 1, "connections": 1,
			"keys": counts, "new": strings.Repeat("y", 60<<10),
		})
	}))
	got, err := client(t, long).Ask(t.Context(), addr, keys)
	if err != nil || !reflect.DeepEqual(got.Keys, counts) {
		t.Errorf("%d keys, %v", len(got.Keys), err)
	}
}

// hanging returns a handler that stops when the test ends, after it has done head.
func hanging(t *testing.T, head func(http.ResponseWriter)) http.HandlerFunc {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(over) }))
	return func(w http.ResponseWriter, r *http.Request) {
		head(w)
		w.(http.Flusher).Flush()
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
}

func TestPeersThatHang(t *testing.T) {
	body := goodBody(t)
	silent := silentListener(t)
	for name, addr := range map[string]string{
		"before the answer": silent,
		"after the head":    hangingPeer(t, func(w http.ResponseWriter) { jsonHead(w) }),
		"in the middle":     hangingPeer(t, func(w http.ResponseWriter) { jsonHead(w); w.Write(body[:20]) }),
		"after the answer":  hangingPeer(t, func(w http.ResponseWriter) { jsonHead(w); w.Write(body) }),
	} {
		t.Run(name, func(t *testing.T) {
			rep, err := client(t, 50*time.Millisecond).Ask(t.Context(), addr, nil)
			checkError(t, rep, err, Timeout)

			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			rep, err = client(t, long).Ask(ctx, addr, nil)
			checkError(t, rep, err, Timeout)

			ctx, cancel = context.WithCancel(t.Context())
			cancel()
			rep, err = client(t, long).Ask(ctx, addr, nil)
			checkError(t, rep, err, Other)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v does not say that it was cancelled", err)
			}
		})
	}
}

func hangingPeer(t *testing.T, head func(http.ResponseWriter)) string {
	t.Helper()
	s := httptest.NewServer(hanging(t, head))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

// silentListener accepts, by way of the kernel, and says nothing.
func silentListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestNobodyThere(t *testing.T) {
	rep, err := client(t, long).Ask(t.Context(), closedPort(t), nil)
	checkError(t, rep, err, Refused)
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var followed atomic.Bool
	target := peer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	addr := peer(t, http.RedirectHandler("http://"+target+Path, http.StatusTemporaryRedirect))
	_, err := client(t, long).Ask(t.Context(), addr, nil)
	if ClassOf(err) != Status || followed.Load() {
		t.Errorf("got %v, followed: %v", err, followed.Load())
	}
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("NO_PROXY", "")
	c := client(t, long)
	c.client()
	if c.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("the transport has a proxy")
	}
}

func TestQuestionsThatCannotBePut(t *testing.T) {
	c := client(t, long)
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:80/x", "u@127.0.0.1:80", "127.0.0.1:80?x", "::1:80", "127.0.0.1:80#"} {
		if _, err := c.Ask(t.Context(), addr, nil); ClassOf(err) != Other {
			t.Errorf("%q: got %v", addr, err)
		}
	}
	for _, key := range []string{"", "10.0.0.1", "AB", strings.Repeat("a", MaxKeyLen+1), "a&b=c"} {
		if _, err := c.Ask(t.Context(), "127.0.0.1:1", []string{"ab", key}); ClassOf(err) != Other {
			t.Errorf("key %q: got %v", key, err)
		}
	}
}

func TestAddressesOfIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 loopback:", err)
	}
	s := httptest.NewUnstartedServer(Handler(func([]string) Report { return good }))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	for _, addr := range []netip.AddrPort{at, netip.AddrPortFrom(at.Addr().WithZone("lo"), at.Port())} {
		if _, err := client(t, long).Ask(t.Context(), addr.String(), nil); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// Rounds use a connection again, an answer that was too much does not.
func TestConnectionsAreKept(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(Handler(func([]string) Report { return good }))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := client(t, long)
	for range 20 {
		if _, err := c.Ask(t.Context(), s.Listener.Addr().String(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 20 questions, want 1", n)
	}
}

func TestMutualTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(Handler(func([]string) Report { return good }))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	var loaded atomic.Int32
	with := func(roots *x509.CertPool) *Client {
		c := client(t, long)
		cfg := &tls.Config{
			RootCAs: roots,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				loaded.Add(1)
				return &s.TLS.Certificates[0], nil
			},
		}
		c.TLS = func() *tls.Config { return cfg }
		return c
	}
	if _, err := with(roots).Ask(t.Context(), s.Listener.Addr().String(), nil); err != nil || loaded.Load() != 1 {
		t.Errorf("%v, certificate loaded %d times", err, loaded.Load())
	}
	plain := client(t, long)
	if _, err := plain.Ask(t.Context(), s.Listener.Addr().String(), nil); ClassOf(err) != Status {
		t.Errorf("without TLS: %v", err) // Go's server answers 400
	}
	if _, err := with(x509.NewCertPool()).Ask(t.Context(), s.Listener.Addr().String(), nil); ClassOf(err) != TLS {
		t.Errorf("an unknown authority: %v", err)
	}
	withoutTLS := peer(t, Handler(func([]string) Report { return good }))
	if _, err := with(roots).Ask(t.Context(), withoutTLS, nil); ClassOf(err) != TLS {
		t.Errorf("a peer without TLS: %v", err)
	}
	c := client(t, long)
	cfg := &tls.Config{RootCAs: roots}
	c.TLS = func() *tls.Config { return cfg }
	if _, err := c.Ask(t.Context(), s.Listener.Addr().String(), nil); ClassOf(err) != TLS {
		t.Errorf("no certificate of ours: %v", err)
	}
}

// What a peer refuses with 403 is a matter of certificates, and its reason is shown.
func TestRefusedCertificate(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no certificate\x1b[31m"+strings.Repeat("x", 10_000), http.StatusForbidden)
	}))
	defer s.Close()
	cfg := s.Client().Transport.(*http.Transport).TLSClientConfig
	c := client(t, long)
	c.TLS = func() *tls.Config { return cfg }
	rep, err := c.Ask(t.Context(), s.Listener.Addr().String(), nil)
	checkError(t, rep, err, TLS)
	if !strings.Contains(err.Error(), `"no certificate\x1b[31mxxx`) {
		t.Errorf("%v does not quote the reason", err)
	}
}

// With other certificates no connection that was made with the old ones is used again,
// and with the same ones one is kept.
func TestOtherCertificatesAreOtherConnections(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(Handler(func([]string) Report { return good }))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	base := s.Client().Transport.(*http.Transport).TLSClientConfig
	cfg := base.Clone()
	c := client(t, long)
	c.TLS = func() *tls.Config { return cfg }
	for i := range 6 {
		if i%2 == 0 {
			cfg = base.Clone()
		}
		if _, err := c.Ask(t.Context(), s.Listener.Addr().String(), nil); err != nil {
			t.Fatal(err)
		}
		if want := int32(i/2 + 1); conns.Load() != want {
			t.Errorf("question %d: %d connections, want %d", i, conns.Load(), want)
		}
	}
}

// No more of an endless answer is read than fits, and than net/http throws away of one
// that is closed early before it gives up the connection (256 KiB since Go 1.27).
func TestAnEndlessAnswerCostsLittle(t *testing.T) {
	const thrownAway = 256 << 10
	answered := make(chan struct{})
	addr := peer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(answered)
		jsonHead(w)
		if n, err := io.CopyN(w, zeros{}, 100<<20); err == nil {
			t.Errorf("the peer could send %d bytes", n)
		}
	}))
	c := client(t, long)
	var read atomic.Int64
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return countedConn{nc, &read}, err
	}
	rep, err := c.Ask(t.Context(), addr, nil)
	checkError(t, rep, err, Size)
	<-answered // the connection is closed, so nothing more is read
	if n := read.Load(); n > maxAnswer+thrownAway+16<<10 {
		t.Errorf("%d bytes were read", n)
	}
}

type countedConn struct {
	net.Conn

	read *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// net/http goes on dialling when the request is over, and counts that as a connection.
func TestADialThatHangsIsGivenUp(t *testing.T) {
	answers := peer(t, Handler(func([]string) Report { return Report{Pod: "pod-a"} }))
	c := client(t, 100*time.Millisecond)
	var dials atomic.Int32
	ended := make(chan struct{}, 10)
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) <= 2 {
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	for range 2 {
		if _, err := c.Ask(t.Context(), answers, nil); err == nil {
			t.Fatal("answered")
		}
	}
	for range 2 {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a dial goes on for ever")
		}
	}
	for try := 1; ; try++ { // a busy machine may need more than 100 ms
		_, err := c.Ask(t.Context(), answers, nil)
		if err == nil {
			return
		}
		if try == 50 {
			t.Fatal(err)
		}
	}
}
