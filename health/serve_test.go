package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"google.golang.org/grpc/test/bufconn"
)

// running is a server on a real port of the loopback interface.
type running struct {
	src    *fake
	base   string
	client *http.Client
	end    context.CancelFunc
	done   chan error
}

func run(t *testing.T, scheme string, client *http.Client, opts ...Option) running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := running{newFake(sampleStatus(epoch)), scheme + ln.Addr().String(), client, cancel, make(chan error, 1)}
	go func() { r.done <- serve(ctx, ln, "test", r.src, newOptions(opts)) }()
	t.Cleanup(func() { cancel(); client.CloseIdleConnections() })
	return r
}

func (r running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestServeUntilTheContextEnds(t *testing.T) {
	r := run(t, "http://", &http.Client{Transport: &http.Transport{}})
	if code, body := r.get(t, "/livez"); code != 200 || body != "ok" {
		t.Errorf("/livez: got %d %q, want 200 ok", code, body)
	}
	if _, port, _ := net.SplitHostPort(strings.TrimPrefix(r.base, "http://")); port != fmt.Sprint(r.src.port.Load()) {
		t.Errorf("SetHealthPort: got %d, want %s", r.src.port.Load(), port)
	}
	r.src.stop() // the port stays open during the lame duck
	if code, _ := r.get(t, "/readyz"); code != 503 {
		t.Errorf("/readyz of a stopping pod: got %d, want 503", code)
	}
	r.end()
	if err := <-r.done; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://")); err == nil {
		_ = conn.Close()
		t.Error("the port is still open")
	}
}

// The longest request of a peer fits the limits of the server, even with every comma escaped
// and as much again for parameters of newer versions.
func TestLongestRequestOfAPeer(t *testing.T) {
	r := run(t, "http://", &http.Client{Transport: &http.Transport{}})
	keys := make([]string, peerz.MaxKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("%0*x", peerz.MaxKeyLen, i)
	}
	query := "keys=" + strings.Join(keys, "%2C") + "&later="
	query += strings.Repeat("x", 2*peerz.MaxKeys*(peerz.MaxKeyLen+3)-len(query))
	if code, body := r.get(t, "/peerz?"+query); code != 200 {
		t.Errorf("%d keys: got %d %.100s, want 200", len(keys), code, body)
	}
	r.end()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// The port for peers is that of the listener, or that of WithPort.
func TestWithPortReplacesTheListeners(t *testing.T) {
	r := run(t, "http://", &http.Client{Transport: &http.Transport{}}, WithPort(9999))
	r.get(t, "/livez") // it serves, so the port is set
	if port := r.src.port.Load(); port != 9999 {
		t.Errorf("SetHealthPort: got %d, want 9999", port)
	}
	r.end()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	src := newFake(sampleStatus(epoch))
	err = listenAndServe(t.Context(), ln.Addr().String(), src, newOptions(nil))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("got %v, want EADDRINUSE and the address", err)
	}
	// The other pods serve on that port, so this one can still poll them.
	if got, want := int(src.port.Load()), ln.Addr().(*net.TCPAddr).Port; got != want {
		t.Errorf("SetHealthPort: got %d, want %d", got, want)
	}
}

func TestContextThatIsDoneAlready(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := listenAndServe(ctx, "127.0.0.1:0", newFake(sampleStatus(epoch)), newOptions(nil)); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestClosedListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := serve(t.Context(), ln, "test", newFake(sampleStatus(epoch)), newOptions(nil)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func TestBadOptionsCloseTheListener(t *testing.T) {
	for name, opt := range map[string]Option{"no certificate": WithTLSConfig(&tls.Config{}), "port": WithPort(65536)} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := serve(t.Context(), ln, "test", newFake(sampleStatus(epoch)), newOptions([]Option{opt})); err == nil {
			t.Errorf("%s: got no error", name)
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Accept: got %v, want net.ErrClosed", name, err)
		}
	}
}

// runTLS is run with a certificate for 127.0.0.1, and what a client needs to trust it.
func runTLS(t *testing.T) (running, *tls.Config) {
	t.Helper()
	certs := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate for 127.0.0.1
	pair := certs.TLS.Certificates[0]
	pool := x509.NewCertPool()
	pool.AddCert(certs.Certificate())
	certs.Close()
	cfg := &tls.Config{RootCAs: pool}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}}
	return run(t, "https://", client, WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}})), cfg
}

func TestTLS(t *testing.T) {
	r, _ := runTLS(t)
	if code, body := r.get(t, "/livez"); code != 200 || body != "ok" {
		t.Errorf("/livez: got %d %q, want 200 ok", code, body)
	}
	r.end()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// A client that never reads its answer delays the shutdown by closeTimeout at most.
func TestSlowClientDoesNotDelayTheShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := bufconn.Listen(64) // so that the answer does not fit
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serve(ctx, ln, "test", newFake(sampleStatus(epoch)), newOptions(nil)) }()
		conn, err := ln.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /statusz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the answer is stuck now
		begun := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > closeTimeout {
			t.Errorf("the shutdown took %v, want at most %v", took, closeTimeout)
		}
	})
}

// A client that sends its header too slowly is disconnected.
func TestSlowHeaderIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := bufconn.Listen(1 << 10)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serve(ctx, ln, "test", newFake(sampleStatus(epoch)), newOptions(nil)) }()
		conn, err := ln.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begun := time.Now()
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost:"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn)
		if took := time.Since(begun); took != readHeaderTimeout {
			t.Errorf("disconnected after %v, want %v", took, readHeaderTimeout)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// breaking is a listener whose Accept fails once broken is closed.
type breaking struct {
	net.Listener
	broken chan struct{}
}

func (b *breaking) Accept() (net.Conn, error) {
	type accepted struct {
		nc  net.Conn
		err error
	}
	next := make(chan accepted, 1)
	go func() {
		nc, err := b.Listener.Accept()
		next <- accepted{nc, err}
	}()
	select {
	case a := <-next:
		return a.nc, a.err
	case <-b.broken:
		_ = b.Close()
		return nil, errors.New("broken")
	}
}

// A peer with an open connection must see the failure, as a peer that dials does.
func TestNoConnectionOutlivesABrokenListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &breaking{ln, make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- serve(t.Context(), b, "test", newFake(sampleStatus(epoch)), newOptions(nil)) }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(nc, "GET /livez HTTP/1.1\r\nHost: pod\r\n\r\n")
	kept := bufio.NewReader(nc)
	res, err := http.ReadResponse(kept, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	close(b.broken)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v, want the error of the listener", err)
	}
	if _, err := kept.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}
