package peerz

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// grpcPort serves gRPC on loopback, until the test ends.
func grpcPort(t *testing.T, opts ...grpc.ServerOption) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(opts...)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return lis.Addr().String()
}

// slowly answers each connection with the SETTINGS of HTTP/2, byte by byte.
func slowly(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			_ = http2.NewFramer(bytewise{c}, nil).WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 14})
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = lis.Close(); <-done })
	return lis.Addr().String()
}

// bytewise writes one byte at a time.
type bytewise struct{ net.Conn }

func (b bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// logged returns what is written to the standard logger until the test ends.
func logged(t *testing.T) *strings.Builder {
	t.Helper()
	var out strings.Builder
	log.SetOutput(&out)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	return &out
}

// Instead of the health port, people configure that of gRPC. Its server speaks first, before
// or after it has read the request, and with or without peers.tls here.
func TestGRPCPortIsNamed(t *testing.T) {
	noise := logged(t)
	for name, tc := range map[string]struct {
		addr string
		cfg  *tls.Config
	}{
		"plain HTTP":   {addr: grpcPort(t)},
		"peers.tls":    {addr: grpcPort(t), cfg: &tls.Config{ServerName: "pod"}},
		"byte by byte": {addr: slowly(t)},
	} {
		for range 20 {
			c := client(t, long)
			if tc.cfg != nil {
				c.TLS = func() *tls.Config { return tc.cfg }
			}
			rep, err := c.Ask(t.Context(), tc.addr, nil)
			checkError(t, rep, err, HTTP2)
			if want := "peer " + tc.addr + ": this port speaks gRPC (HTTP/2) and is not the health endpoint: use the health port"; err == nil || err.Error() != want {
				t.Fatalf("%s: got  %v\nwant %s", name, err, want)
			}
		}
	}
	if noise.Len() > 0 {
		t.Errorf("net/http logged:\n%s", noise)
	}
}

// A gRPC server with TLS closes the connection and says nothing, whether the client speaks
// plain HTTP or TLS without ALPN. The error can only name what to check.
func TestPortThatClosesWithoutAnAnswer(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	creds := credentials.NewTLS(&tls.Config{Certificates: web.TLS.Certificates})
	addr := grpcPort(t, grpc.Creds(creds))
	trusting := web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trusting.ServerName = "example.com"
	for name, cfg := range map[string]*tls.Config{"plain HTTP": nil, "peers.tls": trusting} {
		c := client(t, long)
		c.TLS = func() *tls.Config { return cfg }
		rep, err := c.Ask(t.Context(), addr, nil)
		checkError(t, rep, err, Other)
		want := "peer " + addr + ": the connection was closed without an answer: check that this is the health port, and that both sides have peers.tls or none has"
		if err == nil || err.Error() != want {
			t.Errorf("%s: got  %v\nwant %s", name, err, want)
		}
	}
}
