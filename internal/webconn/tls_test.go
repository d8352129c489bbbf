package webconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conns"
)

// certificates returns those of package httptest.
func certificates() []tls.Certificate {
	model := httptest.NewUnstartedServer(nil)
	model.StartTLS()
	defer model.Close()
	return model.TLS.Certificates
}

// secure serves web with TLS until the test ends, and returns its address.
func secure(t *testing.T, web *http.Server) (*tracker, string) {
	t.Helper()
	web.TLSConfig = &tls.Config{Certificates: certificates()}
	web.ErrorLog = silent
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trk := newTracker()
	s, done := New(trk, web), make(chan error, 1)
	go func() { done <- s.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("ServeTLS returned %v", err)
		}
	})
	return trk, l.Addr().String()
}

// A protocol that net/http does not serve is not offered, whatever has turned it off.
func TestProtocolsThatAreOff(t *testing.T) {
	for name, tc := range map[string]struct {
		godebug string
		web     *http.Server
		want    string
	}{
		"by default":      {web: &http.Server{}, want: "h2"},
		"by GODEBUG":      {godebug: "http2server=0", web: &http.Server{}, want: "http/1.1"},
		"by TLSNextProto": {web: &http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}, want: "http/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GODEBUG", tc.godebug)
			tc.web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.TLS.NegotiatedProtocol)
			})
			trk, addr := secure(t, tc.web)
			tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			defer tr.CloseIdleConnections()
			res, err := (&http.Client{Transport: tr}).Get("https://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got, _ := io.ReadAll(res.Body); string(got) != tc.want || trk.Totals().Connections != 1 {
				t.Errorf("the client speaks %q on %d connections, want %s on 1", got, trk.Totals().Connections, tc.want)
			}
		})
	}
}

// A client that speaks no TLS gets net/http's answer, and leaves nothing behind. So does one that
// ends in the middle of its handshake.
func TestNoTLS(t *testing.T) {
	trk, addr := secure(t, &http.Server{Handler: http.NotFoundHandler()})
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n": "Client sent an HTTP request to an HTTPS server.",
		"\x16\x03\x01":                      "",
	} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, request)
		_ = nc.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(nc)
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is answered with %q, want %q", request, got, want)
		}
		_ = nc.Close()
	}
	for range 100 {
		if trk.CloseSilent(0) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := trk.Totals().Connections; n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// One http.Server may serve several listeners that begin together. net/http sets up HTTP/2 once for
// all of them, which the race detector watches here.
func TestListenersThatBeginTogether(t *testing.T) {
	web := &http.Server{TLSConfig: &tls.Config{Certificates: certificates(), NextProtos: []string{"h2"}}, ErrorLog: silent}
	web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	s := New(newTracker(), web)
	var wg sync.WaitGroup
	defer func() { _ = s.Close(); wg.Wait() }()
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	want := map[string]string{}
	for i := range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			want["http://"+l.Addr().String()] = "HTTP/1.1"
			wg.Go(func() { _ = s.Serve(l) })
		} else {
			want["https://"+l.Addr().String()] = "HTTP/2.0"
			wg.Go(func() { _ = s.ServeTLS(l, "", "") })
		}
	}
	for url, proto := range want {
		res, err := (&http.Client{Transport: tr}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(res.Body); string(got) != proto {
			t.Errorf("%s: the client speaks %s, want %s", url, got, proto)
		}
		_ = res.Body.Close()
	}
}

// A connection that a handler has taken over does not look drained, although its end is not seen
// up to Go 1.26.
func TestHijackWithTLS(t *testing.T) {
	drains, looked := make(chan bool, 1), make(chan struct{})
	web := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := conns.FromContext(r.Context())
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		select {
		case <-c.Draining():
			drains <- true
		default:
			drains <- false
		}
		<-looked
	})}
	web.Protocols.SetHTTP1(true)
	trk, addr := secure(t, web)
	nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	defer close(looked)
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if <-drains {
		t.Error("it looks drained")
	}
	if n := trk.Departed(); n != 0 {
		t.Errorf("%d connections were closed by their clients, want none", n)
	}
}
