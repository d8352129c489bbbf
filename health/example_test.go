package health_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func ExampleRegister() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := grpc.NewServer() // with serveropts.Options(bal, creds)...
	statuses := health.Register(srv, bal)

	// The server as a whole is SERVING already. Single services can have a status of
	// their own.
	statuses.SetServingStatus("hello.v1.HelloService", healthpb.HealthCheckResponse_SERVING)

	for name := range srv.GetServiceInfo() {
		fmt.Println(name)
	}
	// Output: grpc.health.v1.Health
}

// The health port outlives the gRPC server, so its context ends last.
func ExampleListenAndServe() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- health.ListenAndServe(ctx, "127.0.0.1:0", bal) }()

	sigterm, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	go stop() // in place of the signal, so that this example ends
	<-sigterm.Done()
	// Call bal.Shutdown(ctx, srv) here. Meanwhile /readyz answers 503.
	cancel()
	fmt.Println(<-done)
	// Output: <nil>
}

func ExampleServe() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- health.Serve(ctx, ln, bal) }()

	res, err := http.Get("http://" + ln.Addr().String() + "/livez")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = io.Copy(os.Stdout, res.Body)
	_ = res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	fmt.Println()
	fmt.Println(<-done)
	// Output:
	// ok
	// <nil>
}

// get returns the status and the first line of the answer of h.
func get(h http.Handler, path string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
	line, _, _ := strings.Cut(w.Body.String(), "\n")
	return fmt.Sprint(path, " ", w.Code, " ", line)
}

// A program that serves HTTP already mounts the endpoint beside its own paths.
func ExampleHandler() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	h := health.Handler(bal, health.WithPort(8080))
	mux := http.NewServeMux() // that of the server on port 8080
	mux.Handle("/evenkeel/", http.StripPrefix("/evenkeel", h))
	mux.Handle("/peerz", h) // where the other pods read it

	fmt.Println(get(mux, "/evenkeel/readyz"))
	// Output: /evenkeel/readyz 200 ok
}

// Handler does not know the port of the server that it is part of. The Balancer polls its
// peers on the same port.
func ExampleWithPort() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	h := health.Handler(bal, health.WithPort(8080))
	srv := &http.Server{Addr: ":8080", Handler: h}
	fmt.Println(srv.Addr, get(srv.Handler, "/livez")) // in place of srv.ListenAndServe()
	// Output: :8080 /livez 200 ok
}

// The pod leaves its Service while its database is away, and comes back by itself.
func ExampleWithCheck() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	var database error // the result of a check that runs in the background
	h := health.Handler(bal, health.WithCheck("database", func() error { return database }))
	fmt.Println(get(h, "/readyz"))
	database = errors.New("connection refused")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/readyz", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output:
	// /readyz 200 ok
	// 503 [+]serving ok
	// [-]database failed: connection refused
	// [+]balance waiting: Run has not planned yet
	// readyz check failed
}

// An Ingress passes on its own host name. Other names are refused: a web page may point a name
// of its own at this pod.
func ExampleWithHosts() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	h := health.Handler(bal, health.WithHosts("pods.example.com"))
	for _, host := range []string{"pods.example.com", "10.1.0.7:8080", "evil.example"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://"+host+"/statusz", nil))
		fmt.Println(host, w.Code)
	}
	// Output:
	// pods.example.com 200
	// 10.1.0.7:8080 200
	// evil.example 403
}

// Any handler will do; that for Prometheus is metrics.Handler(bal) of package
// health/metrics, a module of its own.
func ExampleWithMetrics() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	connections := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "connections", bal.Status().Connections)
	})
	fmt.Println(get(health.Handler(bal, health.WithMetrics(connections)), "/metrics"))
	fmt.Println(get(health.Handler(bal), "/metrics"))
	// Output:
	// /metrics 200 connections 0
	// /metrics 501 This program exports no metrics here: import github.com/evenkeel-go/evenkeel/health/metrics and pass health.WithMetrics(metrics.Handler(bal)).
}

// Errors of the HTTP server go to the program's own logger.
func ExampleWithLogger() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	var lines bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&lines, nil))
	crash := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of order") })

	_, err = serveOnce(bal, "http://", http.DefaultClient, "/metrics", health.WithLogger(logger), health.WithMetrics(crash))
	fmt.Println(errors.Is(err, io.EOF))
	fmt.Println(strings.Contains(lines.String(), "out of order"))
	// Output:
	// true
	// true
}

// serveOnce serves the endpoint on a free port and returns the answer to one request.
func serveOnce(bal *rebalance.Balancer, scheme string, client *http.Client, path string, opts ...health.Option) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- health.Serve(ctx, ln, bal, opts...) }()
	defer func() { <-done }()
	defer cancel()
	defer client.CloseIdleConnections()
	res, err := client.Get(scheme + ln.Addr().String() + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// Certificates can be renewed without a restart: GetCertificate is called for each
// handshake.
func ExampleWithTLSConfig() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	certPEM, keyPEM, err := newCertificate()
	if err != nil {
		fmt.Println(err)
		return
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	fmt.Println(serveOnce(bal, "https://", client, "/livez", health.WithTLSConfig(cfg)))
	// Output: ok <nil>
}

// A server of your own serves Handler with TLSConfig where peers.tls is set.
func ExampleTLSConfig() {
	dir, err := os.MkdirTemp("", "certificates")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	files, err := writeCertificate(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := config.Default()
	cfg.Peers.TLS = files
	bal, err := rebalance.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{
		Handler:   health.Handler(bal, health.WithPort(8443)),
		TLSConfig: health.TLSConfig(bal),
	}
	fmt.Println(srv.TLSConfig != nil, get(srv.Handler, "/livez")) // in place of srv.ListenAndServeTLS("", "")
	// Output: true /livez 200 ok
}

// newCertificate returns a certificate for 127.0.0.1 that signs itself, and its key.
func newCertificate() (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// writeCertificate writes a new certificate to dir, which signs itself and so is its own CA.
func writeCertificate(dir string) (config.PeersTLS, error) {
	files := config.PeersTLS{
		Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt"),
	}
	cert, key, err := newCertificate()
	return files, errors.Join(err,
		os.WriteFile(files.Cert, cert, 0o600), os.WriteFile(files.Key, key, 0o600), os.WriteFile(files.CA, cert, 0o600))
}
