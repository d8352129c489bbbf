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

// running is Main in this process, by what it announced.
type running struct {
	grpc, http, gateway string
	exit                chan int
}

var announced = regexp.MustCompile(`grpc=(\S+) http=(\S+)(?: gateway=(\S+))?`)

// start runs Main on ports of the system's choice. Since signals reach the whole
// process, tests with a server do not run in parallel.
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
		t.Fatalf("announced %q: %v", line, err)
	}
	r.grpc, r.http, r.gateway = m[1], m[2], m[3]
	return r
}

// stop sends SIGTERM and checks that all ends well.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-r.exit:
		if code != exitOK {
			t.Errorf("exit status %d", code)
		}
	case <-time.After(time.Minute):
		t.Fatal("does not stop")
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
		t.Errorf("Hi: %v, %v", got, err)
	}
	h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
	for _, method := range []string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.channelz.v1.Channelz/GetTopChannels",
	} {
		// Whatever it says to nonsense, it is registered.
		err := conn.Invoke(t.Context(), method, &hellov1.HiRequest{}, &hellov1.HiResponse{})
		if status.Code(err) == codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// In-flight streams are sent elsewhere when the pod stops, with the code that
// clients retry, instead of being cut off at the end of shutdown.timeout.
func TestStreamsEndWithThePod(t *testing.T) {
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
		t.Fatalf("chat: %v, %v", got, err)
	}
	r.stop(t)
	if _, err := lastOf(watch); status.Code(err) != codes.Unavailable {
		t.Errorf("watch ended with %v", err)
	}
	if _, err := lastOf(chat); status.Code(err) != codes.Unavailable {
		t.Errorf("chat ended with %v", err)
	}
}

// lastOf reads to the end.
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

func TestChatEndsWithItsClient(t *testing.T) {
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
		t.Errorf("got %v, want the end", err)
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
				t.Errorf("%s: %s", resp.Status, answer)
			}
		})
	}
}

// With a CA for clients, one without a certificate is refused, and one with is not.
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
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// A renewed certificate and another CA for clients count without a restart, for the gateway,
// too; bad files change nothing.
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
		t.Errorf("with a certificate that the server does not have: %v", err)
	}
	copyFile(t, newCert, cert)
	copyFile(t, newKey, key)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(lookEvery / 4) {
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
		t.Errorf("gateway: %s", resp.Status)
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

// peers.tls closes /peerz to everybody but pods, and nothing else.
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
			t.Errorf("%s with %d certificates: %s, want %d", tc.path, len(tc.certs), resp.Status, tc.want)
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
			t.Errorf("got %q, want %q", stderr.String(), want)
		}
	}
}

// -bare counts the GOAWAYs that grpc-go sends by itself.
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

// -drain-every asks connections to leave, and no call fails of it.
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

// A configuration file that has become wrong is shown until it is good again.
func TestConfigFileGoesWrong(t *testing.T) {
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
	shows := []byte("rebalance.tolerances")

	write("rebalance:\n  tolerances: 0.2\n")
	await(t, func() bool { return bytes.Contains(get(t, statusz), shows) })
	write("rebalance:\n  tolerance: 0.3\n")
	await(t, func() bool { return !bytes.Contains(get(t, statusz), shows) })
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("did not come")
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

// appOf has a gateway, and its ports.
func appOf(t *testing.T, cfg config.Config) (*app, listeners) {
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

// Whatever fails ends all, the gateway, too, and is told.
func TestAPartThatFailsEndsAll(t *testing.T) {
	a, l := appOf(t, config.Default())
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
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("does not end")
	}
}

// Somebody who never sends the end of a request must not outlast shutdown.timeout.
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
	if _, err := bufio.NewReader(nc).ReadString('\n'); err != nil { // its handler reads
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
		t.Fatal("waits for the request")
	}
}

// A handler that never ends, whatever its context says, must not keep the process.
func TestStopLeavesHungHandlers(t *testing.T) {
	cfg := config.Default()
	cfg.Shutdown.Timeout = time.Second
	a, l := appOf(t, cfg)
	begun, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	a.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Hung", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Hang", ServerStreams: true, ClientStreams: true, Handler: func(any, grpc.ServerStream) error {
			close(begun)
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
	<-begun
	signals <- syscall.SIGTERM
	select {
	case err := <-ended:
		if err != nil { // it stopped as it was asked to
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("does not end")
	}
}
