// Package certstest creates certificates for tests, in files like those of a mounted
// Kubernetes Secret.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/certs"
)

var serials atomic.Int64

// CA signs certificates.
type CA struct {
	// PEM is the CA's own certificate.
	PEM []byte

	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA returns a CA with the given name.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	ca := &CA{t: t, key: newKey(t)}
	ca.PEM, ca.cert = sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, ca.key, ca.key)
	return ca
}

// Issue returns a certificate and its key, for both sides of a connection. change, if not
// nil, may change the certificate before it is signed.
func (ca *CA) Issue(name string, change func(*x509.Certificate)) (cert, key []byte) {
	ca.t.Helper()
	private := newKey(ca.t)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	cert, _ = sign(ca.t, template, ca.cert, private, ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Sign returns a certificate for the key of another CA, which makes that an intermediate.
func (ca *CA) Sign(other *CA) []byte {
	ca.t.Helper()
	cert, _ := sign(ca.t, &x509.Certificate{
		Subject: other.cert.Subject, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, ca.cert, other.key, ca.key)
	return cert
}

// Expired makes a certificate one that expired yesterday. It is an argument for Issue.
func Expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign signs c with by, the key of parent. Without a parent, c signs itself.
func sign(t testing.TB, c, parent *x509.Certificate, key, by *ecdsa.PrivateKey) ([]byte, *x509.Certificate) {
	t.Helper()
	c.SerialNumber = big.NewInt(serials.Add(1))
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(240*time.Hour)
	}
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), made
}

// Mount is a directory with the layout of a Secret that the kubelet mounts: file ->
// ..data/file and ..data -> ..N.
type Mount struct {
	// Files are the names of the files in it.
	Files certs.Files

	t   testing.TB
	dir string
	n   int
}

// NewMount returns a Mount with the given contents.
func NewMount(t testing.TB, cert, key, ca []byte) *Mount {
	t.Helper()
	m := &Mount{t: t, dir: t.TempDir()}
	m.Files = certs.Files{
		Cert: filepath.Join(m.dir, "tls.crt"), Key: filepath.Join(m.dir, "tls.key"), CA: filepath.Join(m.dir, "ca.crt"),
	}
	m.Swap(cert, key, ca)
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		m.must(os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)))
	}
	return m
}

// Swap replaces the contents in one step.
func (m *Mount) Swap(cert, key, ca []byte) {
	m.t.Helper()
	m.n++
	version := fmt.Sprintf("..%d", m.n)
	m.must(os.Mkdir(filepath.Join(m.dir, version), 0o700))
	for name, text := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": ca} {
		m.must(os.WriteFile(filepath.Join(m.dir, version, name), text, 0o600))
	}
	tmp := filepath.Join(m.dir, "..tmp")
	m.must(os.Symlink(version, tmp))
	m.must(os.Rename(tmp, filepath.Join(m.dir, "..data")))
}

func (m *Mount) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}
