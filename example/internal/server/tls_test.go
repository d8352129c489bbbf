package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

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
