//go:build linux

package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// identity is a program or a person that the API server knows.
type identity struct {
	file   string // name of its files
	name   string // user
	group  string
	server []string // names and addresses, if it is a server
}

// identities get certificates. RBAC has default roles for names that begin with system:.
var identities = []identity{
	{file: "admin", name: "admin", group: "system:masters"},
	{file: "controllers", name: "system:kube-controller-manager"},
	{file: "scheduler", name: "system:kube-scheduler"},
	{file: "kubelet", name: "system:node:" + nodeName, group: "system:nodes", server: []string{nodeName, nodeIP}},
	{file: "proxy", name: "system:kube-proxy"},
	{file: "apiserver-kubelet", name: "kube-apiserver-kubelet-client", group: "system:masters"},
	{file: "apiserver", name: "kube-apiserver", server: []string{
		nodeIP, apiService, "127.0.0.1", "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}},
}

// authority signs the certificates of one run.
type authority struct {
	dir    string
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	serial int64
}

// lifetime is far longer than any run.
const lifetime = 24 * time.Hour

// makePKI writes a CA, the certificates and kubeconfigs of all identities, and the keys of
// service accounts into dir.
func makePKI(dir string) error {
	ca, err := newAuthority(dir)
	if err != nil {
		return err
	}
	for _, id := range identities {
		if err := ca.issue(&id); err != nil {
			return fmt.Errorf("%s: %w", id.file, err)
		}
		if err := writeKubeconfig(filepath.Join(dir, id.file+".kubeconfig"), dir, id.file, apiAddress); err != nil {
			return err
		}
	}
	return accountKeys(dir)
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, key: key}
	a.cert = a.template("evenkeel-e2e-ca", "")
	a.cert.IsCA, a.cert.BasicConstraintsValid = true, true
	a.cert.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	a.cert.ExtKeyUsage = nil
	return a, a.sign("ca", a.cert, key)
}

func (a *authority) template(name, group string) *x509.Certificate {
	a.serial++
	t := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if group != "" {
		t.Subject.Organization = []string{group}
	}
	return t
}

func (a *authority) issue(id *identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := a.template(id.name, id.group)
	for _, host := range id.server {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
			continue
		}
		t.DNSNames = append(t.DNSNames, host)
	}
	return a.sign(id.file, t, key)
}

// sign writes file.crt and file.key.
func (a *authority) sign(file string, t *x509.Certificate, key *ecdsa.PrivateKey) error {
	cert, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(a.dir, file+".crt"), "CERTIFICATE", cert); err != nil {
		return err
	}
	return writeKey(filepath.Join(a.dir, file+".key"), key)
}

// accountKeys writes the keys that sign the tokens of service accounts.
func accountKeys(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "accounts.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "accounts.key"), key)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

var kubeconfig = template.Must(template.New("").Parse(`apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: {{.User}}}}]
clusters: [{name: e2e, cluster: {server: "https://{{.Address}}", certificate-authority: {{.PKI}}/ca.crt}}]
users: [{name: {{.User}}, user: {client-certificate: {{.PKI}}/{{.User}}.crt, client-key: {{.PKI}}/{{.User}}.key}}]
`))

func writeKubeconfig(file, pki, user, address string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return kubeconfig.Execute(f, struct{ PKI, User, Address string }{pki, user, address})
}
