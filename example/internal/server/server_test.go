package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// running is a call of Main in this process, with the addresses that it announced.
type running struct {
	grpc, http, gateway string
	exit                chan int
}

var announced = regexp.MustCompile(`grpc=(\S+) http=(\S+)(?: gateway=(\S+))?`)

// start runs Main on ports that the system chooses. Signals reach the whole process, so
// tests with a server do not run in parallel.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	stdout, w := io.Pipe()
	r := &running{exit: make(chan int, 1)}
	go func() {
		code := Main(append([]string{"-grpc", "127.0.0.1:0", "-http", "127.0.0.1:0", "-name", "pod-a", "-log-level", "error"}, args...), w, os.Stderr)
		_ = w.Close()
		r.exit <- code
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	m := announced.FindStringSubmatch(line)
	if err != nil || m == nil {
		t.Fatalf("got the line %q, want the addresses: %v", line, err)
	}
	r.grpc, r.http, r.gateway = m[1], m[2], m[3]
	return r
}

// stop sends SIGTERM and checks the exit status.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-r.exit:
		if code != exitOK {
			t.Errorf("exit status %d, want %d", code, exitOK)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server has not stopped within a minute of SIGTERM")
	}
}

func dial(t *testing.T, addr string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestServices(t *testing.T) {
	r := start(t)
	defer r.stop(t)
	conn := dial(t, r.grpc, insecure.NewCredentials())
	got, err := hellov1.NewHelloServiceClient(conn).Hi(t.Context(), &hellov1.HiRequest{ToWho: "Ann", Message: "hi"})
	if err != nil || got.GetPod() != "pod-a" || got.GetFromWho() != "Ann" || got.GetMessage() != "hi" {
		t.Errorf("Hi returned %v, %v; want the greeting of Ann from pod-a", got, err)
	}
	h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health check returned %v, %v; want SERVING", h, err)
	}
	for _, method := range []string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.channelz.v1.Channelz/GetTopChannels",
	} {
		// Any other answer to this invalid request shows that the service is registered.
		err := conn.Invoke(t.Context(), method, &hellov1.HiRequest{}, &hellov1.HiResponse{})
		if status.Code(err) == codes.Unimplemented {
			t.Errorf("%s is not registered: %v", method, err)
		}
	}
}

// When the pod stops, streams in flight end with the code on which clients retry. They
// are not cut off at the end of shutdown.timeout.
func TestStreamsEndWhenPodStops(t *testing.T) {
	r := start(t, "-set", "shutdown.timeout=50s", "-set", "rebalance.spread=0s")
	c := hellov1.NewHelloServiceClient(dial(t, r.grpc, insecure.NewCredentials()))
	watch, err := c.Watch(t.Context(), &hellov1.HiRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	chat, err := c.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := chat.Send(&hellov1.HiRequest{Message: "one"}); err != nil {
		t.Fatal(err)
	}
	if got, err := chat.Recv(); err != nil || got.GetMessage() != "one" {
		t.Fatalf("chat received %v, %v; want the message one", got, err)
	}
	r.stop(t)
	if _, err := lastOf(watch); status.Code(err) != codes.Unavailable {
		t.Errorf("watch ended with %v, want Unavailable", err)
	}
	if _, err := lastOf(chat); status.Code(err) != codes.Unavailable {
		t.Errorf("chat ended with %v, want Unavailable", err)
	}
}

// lastOf reads stream to its end, and returns the error that ended it.
func lastOf(stream interface {
	Recv() (*hellov1.HiResponse, error)
},
) (n int, err error) {
	for err == nil {
		_, err = stream.Recv()
		n++
	}
	return n, err
}

func TestChatEndsWhenClientCloses(t *testing.T) {
	r := start(t)
	defer r.stop(t)
	chat, err := hellov1.NewHelloServiceClient(dial(t, r.grpc, insecure.NewCredentials())).Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := chat.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := chat.Recv(); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
}

func TestGateway(t *testing.T) {
	cert, key := selfSigned(t)
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"plaintext", nil},
		{"TLS", []string{"-tls-cert", cert, "-tls-key", key}},
		{"mTLS", []string{"-tls-cert", cert, "-tls-key", key, "-tls-client-ca", cert}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, append(tc.args, "-gateway", "127.0.0.1:0")...)
			defer r.stop(t)
			body := strings.NewReader(`{"toWho": "Ann", "message": "hi"}`)
			resp, err := http.Post("http://"+r.gateway+"/v1/hi", "application/json", body)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"pod-a"`)) {
				t.Errorf("got %s: %s, want 200 and an answer of pod-a", resp.Status, answer)
			}
		})
	}
}

// With a CA for clients, a client without a certificate is refused, and one with a
// certificate is not.
func TestClientCertificates(t *testing.T) {
	cert, key := selfSigned(t)
	r := start(t, "-tls-cert", cert, "-tls-key", key, "-tls-client-ca", cert)
	defer r.stop(t)
	stranger, err := credentials.NewClientTLSFromFile(cert, "")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := loadKeyring(&options{tlsCert: cert, tlsKey: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		creds credentials.TransportCredentials
		want  codes.Code
	}{{"stranger", stranger, codes.Unavailable}, {"known", keys.loopback(), codes.OK}} {
		_, err := hellov1.NewHelloServiceClient(dial(t, r.grpc, tc.creds)).Hi(t.Context(), &hellov1.HiRequest{})
		if status.Code(err) != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

// A renewed certificate and a new CA for clients take effect without a restart, also for
// the gateway. Invalid files change nothing.
func TestCertificatesAreReloaded(t *testing.T) {
	cert, key := selfSigned(t)
	r := start(t, "-tls-cert", cert, "-tls-key", key, "-tls-client-ca", cert, "-gateway", "127.0.0.1:0")
	defer r.stop(t)
	newCert, newKey := selfSigned(t)
	renewed, err := loadKeyring(&options{tlsCert: newCert, tlsKey: newKey}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	call := func() error {
		_, err := hellov1.NewHelloServiceClient(dial(t, r.grpc, renewed.loopback())).Hi(t.Context(), &hellov1.HiRequest{})
		return err
	}
	if err := call(); status.Code(err) != codes.Unavailable {
		t.Errorf("call before the renewal returned %v, want Unavailable", err)
	}
	copyFile(t, newCert, cert)
	copyFile(t, newKey, key)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(reloadEvery / 4) {
		if err = call(); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	resp, err := http.Post("http://"+r.gateway+"/v1/hi", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("gateway returned %s, want 200", resp.Status)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// selfSigned writes a certificate for 127.0.0.1 that is its own CA.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, body []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: body}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}

// With peers.tls, /peerz requires a certificate, and nothing else does.
func TestPeersTLS(t *testing.T) {
	cert, key := selfSigned(t)
	r := start(t, "-set", "peers.tls.cert="+cert, "-set", "peers.tls.key="+key, "-set", "peers.tls.ca="+cert)
	defer r.stop(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, tc := range []struct {
		certs []tls.Certificate
		path  string
		want  int
	}{{nil, "/readyz", http.StatusOK}, {nil, "/peerz", http.StatusForbidden}, {[]tls.Certificate{pair}, "/peerz", http.StatusOK}} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: tc.certs}}}
		resp, err := client.Get("https://" + r.http + tc.path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		client.CloseIdleConnections()
		if resp.StatusCode != tc.want {
			t.Errorf("%s with %d certificates: got %s, want %d", tc.path, len(tc.certs), resp.Status, tc.want)
		}
	}
}

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	busy := ln.Addr().String()
	for _, name := range []string{"-grpc", "-http", "-gateway"} {
		args := []string{"-grpc", "127.0.0.1:0", "-http", "127.0.0.1:0", name, busy}
		var stdout, stderr bytes.Buffer
		if code := Main(args, &stdout, &stderr); code != exitFail {
			t.Errorf("%s: exit status %d, want %d", name, code, exitFail)
		}
		want := "server: " + name + " " + busy + ": address already in use\n"
		if stderr.String() != want {
			t.Errorf("got %q on stderr, want %q", stderr.String(), want)
		}
	}
}

// With -bare, the GOAWAYs that grpc-go sends by itself are counted.
func TestBareMaxConnectionAge(t *testing.T) {
	r := start(t, "-bare", "-bare-max-connection-age", "1s")
	defer r.stop(t)
	conn := dial(t, r.grpc, insecure.NewCredentials())
	c := hellov1.NewHelloServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !bytes.Contains(get(t, "http://"+r.http+"/metrics"), []byte(`evenkeel_goaways_total{reason="server"} 1`)) {
		if _, err := c.Hi(ctx, &hellov1.HiRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}

// -drain-every drains connections, and no call fails because of it.
func TestDrainEvery(t *testing.T) {
	r := start(t, "-drain-every", "50ms")
	defer r.stop(t)
	c := hellov1.NewHelloServiceClient(dial(t, r.grpc, insecure.NewCredentials()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	none := []byte(`evenkeel_goaways_total{reason="manual"} 0`)
	for bytes.Contains(get(t, "http://"+r.http+"/metrics"), none) {
		if _, err := c.Hi(ctx, &hellov1.HiRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A configuration file that becomes invalid is shown in /statusz until it is valid again.
func TestInvalidConfigFileIsShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rebalance:\n  tolerance: 0.2\n")
	r := start(t, "-config", file)
	defer r.stop(t)
	statusz := "http://" + r.http + "/statusz"
	badKey := []byte("rebalance.tolerances")

	write("rebalance:\n  tolerances: 0.2\n")
	await(t, func() bool { return bytes.Contains(get(t, statusz), badKey) })
	write("rebalance:\n  tolerance: 0.3\n")
	await(t, func() bool { return !bytes.Contains(get(t, statusz), badKey) })
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("the condition is still false after a minute")
		}
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// newTestApp returns an app with a gateway, and its listeners.
func newTestApp(t *testing.T, cfg config.Config) (*app, listeners) {
	t.Helper()
	o, err := parse([]string{"-grpc", "127.0.0.1:0", "-http", "127.0.0.1:0", "-gateway", "127.0.0.1:0"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(&o, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, l
}

// A part that fails ends all others, including the gateway, and its error is returned.
func TestFailedPartEndsAll(t *testing.T) {
	a, l := newTestApp(t, config.Default())
	ctx, cancel := context.WithCancelCause(t.Context())
	stdout, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- a.serveOn(ctx, cancel, l, nil, w) }()
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_ = l.http.Close()
	select {
	case err := <-ended:
		if err == nil || !strings.HasPrefix(err.Error(), "-http: ") {
			t.Errorf("ended with %v, want an error of -http", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server has not ended within a minute of the failure")
	}
}

// A client that never sends the end of its request must not outlast shutdown.timeout.
func TestStopEndsSlowRequests(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gw, err := newGateway(t.Context(), ln.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- gw.serve(ln) }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "POST /v1/hi HTTP/1.1\r\nHost: pod\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
	if _, err := bufio.NewReader(nc).ReadString('\n'); err != nil { // the handler is reading
		t.Fatal(err)
	}
	srv := &stopper{Server: grpc.NewServer(), gateway: gw, timeout: time.Hour}
	stopped := make(chan struct{})
	go func() { defer close(stopped); srv.GracefulStop() }()
	if err := <-served; err != nil { // the gateway is stopping
		t.Fatal(err)
	}
	srv.Stop()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("GracefulStop still waits for the request after Stop")
	}
}

// A handler that ignores its context and never returns must not keep the process alive.
func TestStopDoesNotWaitForHungHandlers(t *testing.T) {
	cfg := config.Default()
	cfg.Shutdown.Timeout = time.Second
	a, l := newTestApp(t, cfg)
	called, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	a.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Hung", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Hang", ServerStreams: true, ClientStreams: true, Handler: func(any, grpc.ServerStream) error {
			close(called)
			<-release
			return nil
		}}},
	}, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	signals := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- a.serveOn(ctx, cancel, l, signals, io.Discard) }()
	conn := dial(t, l.grpc.Addr().String(), insecure.NewCredentials())
	if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Hung/Hang"); err != nil {
		t.Fatal(err)
	}
	<-called
	signals <- syscall.SIGTERM
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v, want nil after a signal", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server has not ended within a minute of the signal")
	}
}
