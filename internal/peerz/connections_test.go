package peerz

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Requests of later rounds must reuse the connection.
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
		t.Errorf("%d connections for 20 requests, want 1", n)
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
		t.Errorf("got %v, and the certificate was loaded %d times, want once", err, loaded.Load())
	}
	plain := client(t, long)
	if _, err := plain.Ask(t.Context(), s.Listener.Addr().String(), nil); ClassOf(err) != Status {
		t.Errorf("client without TLS: %v", err) // Go's server answers 400
	}
	if _, err := with(x509.NewCertPool()).Ask(t.Context(), s.Listener.Addr().String(), nil); ClassOf(err) != TLS {
		t.Errorf("server of an unknown authority: %v", err)
	}
	withoutTLS := peer(t, Handler(func([]string) Report { return good }))
	if _, err := with(roots).Ask(t.Context(), withoutTLS, nil); ClassOf(err) != TLS {
		t.Errorf("server without TLS: %v", err)
	}
	c := client(t, long)
	cfg := &tls.Config{RootCAs: roots}
	c.TLS = func() *tls.Config { return cfg }
	if _, err := c.Ask(t.Context(), s.Listener.Addr().String(), nil); ClassOf(err) != TLS {
		t.Errorf("client without a certificate: %v", err)
	}
}

// A refusal with status 403 concerns the certificate, and the error must quote its reason.
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

// After a change of certificates, connections made with the old ones must not be reused.
// Without a change, one connection is kept.
func TestOtherCertificatesNeedOtherConnections(t *testing.T) {
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
			t.Errorf("request %d: %d connections, want %d", i, conns.Load(), want)
		}
	}
}

// The client reads no more of an endless answer than the limit, and net/http discards some
// more before it gives up the connection (256 KiB since Go 1.27).
func TestAnEndlessAnswerCostsLittle(t *testing.T) {
	const discarded = 256 << 10
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
	if n := read.Load(); n > maxAnswer+discarded+16<<10 {
		t.Errorf("read %d bytes, want little more than %d", n, maxAnswer+discarded)
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

// net/http goes on dialing after the request is over, and counts that as a connection.
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
	for try := 1; dials.Load() < 2; try++ { // on a busy machine a request may end before its dial
		if _, err := c.Ask(t.Context(), answers, nil); err == nil {
			t.Fatal("a request succeeded without a connection")
		}
		if try == 50 {
			t.Fatal("50 requests dialed less than twice")
		}
	}
	for range 2 {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a dial never ends")
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
