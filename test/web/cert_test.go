package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
)

// newCert makes a certificate for the pods of a network and for 127.0.0.1, and writes its CA to a
// file for the clients, which trust nothing else.
func newCert(t *testing.T, network int) (cert tls.Certificate, file string) {
	t.Helper()
	ca := certstest.NewCA(t, "ca")
	chain, key := ca.Issue("pods", func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.ParseIP("127.0.0.1")}
		for n := range maxPods {
			c.IPAddresses = append(c.IPAddresses, net.ParseIP(podAddr(network, n+1)))
		}
	})
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return cert, file
}

// maxPods is the largest number of pods of a fleet.
const maxPods = 5

func podAddr(network, n int) string { return fmt.Sprintf("127.30.%d.%d", network, n) }
