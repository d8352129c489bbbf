package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// sidecar is one that runs in this process, on real sockets.
type sidecar struct {
	*app
	listen, http string
	signals      chan os.Signal
	ended        chan error
}

func start(t *testing.T, upstream string, flags ...string) *sidecar {
	t.Helper()
	o, err := parse(append([]string{"-listen", "127.0.0.1:0", "-http", "127.0.0.1:0", "-upstream", upstream}, flags...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(&o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o.listen = "127.0.0.1:0 of " + t.Name() // a name of its own for -drain
	ctx, cancel := context.WithCancelCause(context.Background())
	var l listeners
	var lc net.ListenConfig
	for _, ln := range []*net.Listener{&l.clients, &l.http} {
		if *ln, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if l.control, err = listenControl(ctx, o.listen); err != nil {
		t.Fatal(err)
	}
	s := &sidecar{app: a, listen: l.clients.Addr().String(), http: l.http.Addr().String(), signals: make(chan os.Signal, 1), ended: make(chan error, 1)}
	stdout, w := io.Pipe()
	go func() { s.ended <- a.serveOn(ctx, cancel, l, s.signals, w) }()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.Contains(line, "upstream="+upstream) {
		t.Fatalf("got %q, %v", line, err)
	}
	t.Cleanup(func() { s.stop(t) })
	return s
}

// stop ends it with a signal, once.
func (s *sidecar) stop(t *testing.T) {
	t.Helper()
	select {
	case s.signals <- syscall.SIGTERM:
	default:
	}
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
		s.ended <- nil
	case <-time.After(30 * time.Second):
		t.Fatal("it has not ended within 30 s of the signal")
	}
}

func (s *sidecar) get(t *testing.T, path string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Get("http://" + s.http + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually polls.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout: %s", what)
		}
	}
}

func (s *sidecar) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, "it is ready", func() bool { code, _ := s.get(t, "/readyz"); return code == 200 })
}

// echo is an upstream that sends back what it gets, after a first line.
type echo struct {
	net.Listener
	first string
}

func startEcho(t *testing.T, network, addr, first string) *echo {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{ln, first}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go e.serve(nc)
		}
	}()
	t.Cleanup(func() { _ = ln.Close() })
	return e
}

func (e *echo) serve(nc net.Conn) {
	defer nc.Close()
	_, _ = io.WriteString(nc, e.first)
	_, _ = io.Copy(nc, nc)
}

// roundTrip sends a text and ends its side, and returns the whole answer.
func roundTrip(t *testing.T, nc net.Conn, text string) string {
	t.Helper()
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(nc, text)
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil {
		t.Error(err)
	}
	return string(got)
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestPassesOverSockets(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ network, addr, prefix string }{
		{"tcp", "127.0.0.1:0", ""}, {"unix", filepath.Join(dir, "up"), "unix:"},
	} {
		e := startEcho(t, tc.network, tc.addr, "hello ")
		s := start(t, tc.prefix+e.Addr().String())
		s.awaitReady(t)
		if got := roundTrip(t, dialTCP(t, s.listen), "world"); got != "hello world" {
			t.Errorf("%s: got %q, want hello world", tc.network, got)
		}
		s.stop(t)
	}
}

// TLS is ended at the sidecar, with half-closes in both directions. A renewed certificate is used
// from the next handshake on.
func TestEndsTLS(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Issue("one", nil)
	files := certstest.NewMount(t, cert, key, ca.PEM)
	e := startEcho(t, "tcp", "127.0.0.1:0", "hello ")
	s := start(t, e.Addr().String(), "-tls-cert", files.Files.Cert, "-tls-key", files.Files.Key)
	s.awaitReady(t)
	for _, protos := range [][]string{{"h2"}, {"http/1.1"}, nil} {
		nc, err := tls.Dial("tcp", s.listen, &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
		if err != nil {
			t.Fatal(err)
		}
		if got := roundTrip(t, nc, "world"); got != "hello world" {
			t.Errorf("%v: got %q, want hello world", protos, got)
		}
	}
	nc := dialTCP(t, s.listen)
	_, _ = io.WriteString(nc, "no TLS at all\r\n\r\n")
	if got, _ := io.ReadAll(nc); bytes.Contains(got, []byte("hello")) {
		t.Errorf("a plaintext client got %q", got)
	}
	_ = nc.Close()
	cert, key = ca.Issue("two", nil)
	files.Swap(cert, key, ca.PEM)
	eventually(t, "the renewed certificate is used", func() bool {
		nc, err := tls.Dial("tcp", s.listen, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		return nc.ConnectionState().PeerCertificates[0].Subject.CommonName == "two"
	})
}

// With a CA for clients, a client without a certificate is refused, and one with a certificate
// is not.
func TestClientCertificates(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Issue("pod", nil)
	files := certstest.NewMount(t, cert, key, ca.PEM)
	e := startEcho(t, "tcp", "127.0.0.1:0", "hello ")
	s := start(t, e.Addr().String(), "-tls-cert", files.Files.Cert, "-tls-key", files.Files.Key, "-tls-client-ca", files.Files.CA)
	s.awaitReady(t)
	pair, err := tls.X509KeyPair(ca.Issue("client", nil))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := tls.Dial("tcp", s.listen, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	if got := roundTrip(t, nc, "world"); got != "hello world" {
		t.Errorf("got %q, want hello world", got)
	}
	stranger, err := tls.Dial("tcp", s.listen, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		defer stranger.Close()
		_, err = stranger.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a client without a certificate got %v", err)
	}
}

func TestProxyProtocol(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0", "")
	s := start(t, e.Addr().String(), "-proxy-protocol")
	s.awaitReady(t)
	nc := dialTCP(t, s.listen)
	want := string(proxyHeader(nc.LocalAddr(), nc.RemoteAddr())) + "world"
	if got := roundTrip(t, nc, "world"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// try connects and waits for a byte.
func (s *sidecar) try() error {
	nc, err := net.Dial("tcp", s.listen)
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = nc.Read(make([]byte, 1))
	return err
}

// While the upstream is away, /readyz says why, a condition shows it, and clients are reset.
func TestUpstreamComesAndGoes(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0", "")
	addr := e.Addr().String()
	_ = e.Close()
	s := start(t, addr)
	eventually(t, "the cause shows", func() bool {
		code, body := s.get(t, "/readyz")
		return code == 503 && strings.Contains(body, "[-]upstream failed: cannot reach "+addr+": connection refused")
	})
	if st := s.bal.Status(); len(st.Conditions) != 1 || st.Conditions[0].Code != "upstream-away" || st.Conditions[0].Severity != rebalance.Warning {
		t.Errorf("got the conditions %+v, want a warning upstream-away", st.Conditions)
	}
	if err := s.try(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client got %v, want a reset", err)
	}
	e = startEcho(t, "tcp", addr, "")
	s.awaitReady(t)
	if st := s.bal.Status(); len(st.Conditions) != 0 {
		t.Errorf("got the conditions %+v, want none", st.Conditions)
	}
	_ = e.Close()
	if err := s.try(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client got %v after the end of the upstream, want a reset", err)
	}
	if code, body := s.get(t, "/readyz"); code != 503 {
		t.Errorf("/readyz answers %d %s, want 503", code, body)
	}
	if st := s.bal.Status(); len(st.Conditions) != 1 || st.Conditions[0].Severity != rebalance.Error {
		t.Errorf("got the conditions %+v, want an error", st.Conditions)
	}
	if _, body := s.get(t, "/metrics"); !strings.Contains(body, "\nevenkeel_sidecar_upstream_up 0\n") || !strings.Contains(body, "\nevenkeel_connections 0\n") {
		t.Errorf("/metrics lacks that the upstream is away, or the Balancer's own:\n%s", body)
	}
}

// A native sidecar gets SIGTERM when the server has ended. It then has nothing to wait for.
func TestStopsAtOnceWithoutUpstream(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0", "")
	s := start(t, e.Addr().String(), "-set", "peers.source=static", "-set", "peers.static=127.0.0.1")
	s.awaitReady(t)
	_ = e.Close()
	begun := time.Now()
	s.stop(t)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it has ended %v after the signal, want at once", took)
	}
}

// -drain makes a running sidecar drain and returns when it has. The sidecar then waits for its
// signal.
func TestDrainCommand(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0", "")
	s := start(t, e.Addr().String(), "-set", "shutdown.timeout=2s")
	s.awaitReady(t)
	nc := dialTCP(t, s.listen)
	defer nc.Close()
	_, _ = io.WriteString(nc, "GET /")
	if _, err := io.ReadFull(nc, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	if code := run([]string{"-drain", "-listen", "127.0.0.1:1"}, io.Discard, &stderr); code != exitFail || !strings.Contains(stderr.String(), "no sidecar with -listen 127.0.0.1:1") {
		t.Errorf("-drain without a sidecar: exit status %d, %q", code, &stderr)
	}
	asked := make(chan error, 2)
	for range 2 {
		go func() { asked <- askToDrain(s.o.listen) }()
	}
	eventually(t, "it is not ready", func() bool { code, _ := s.get(t, "/readyz"); return code == 503 })
	if _, err := io.WriteString(nc, "still"); err != nil {
		t.Error(err)
	}
	if got := make([]byte, 5); true {
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "still" {
			t.Errorf("while it drains, the client got %q, %v", got, err)
		}
	}
	for range 2 {
		if err := <-asked; err != nil {
			t.Error(err)
		}
	}
	if code, _ := s.get(t, "/livez"); code != 200 {
		t.Errorf("/livez answers %d after -drain, want 200", code)
	}
	if n, _ := s.proxy.count(); n != 0 {
		t.Errorf("%d connections are left after -drain", n)
	}
	s.stop(t)
	if err := askToDrain(s.o.listen); err == nil || !strings.Contains(err.Error(), "no sidecar with -listen") {
		t.Errorf("without a sidecar, -drain returned %v", err)
	}
}

// A part that fails ends all others, and its error is returned.
func TestFailedPartEndsAll(t *testing.T) {
	e := startEcho(t, "tcp", "127.0.0.1:0", "")
	s := start(t, e.Addr().String())
	s.awaitReady(t)
	s.proxy.mu.Lock()
	_ = s.proxy.ln.Close()
	s.proxy.mu.Unlock()
	if err := <-s.ended; err == nil || !strings.HasPrefix(err.Error(), "-listen: ") {
		t.Errorf("it ended with %v, want an error of -listen", err)
	}
	s.ended <- nil
}
