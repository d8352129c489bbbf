package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/test/bufconn"

	"github.com/evenkeel-go/evenkeel/internal/certs"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// problems collects the reports of a Store.
type problems []string

func (p *problems) add(problem string) { *p = append(*p, problem) }

func newStore(t *testing.T, m *certstest.Mount, serverName string, p *problems) *certs.Store {
	t.Helper()
	s, err := certs.New(m.Files, serverName, p.add)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake makes one handshake. It returns the common name that each side saw, the result of
// CheckClient, and the error of the client.
func shake(t *testing.T, server, client *certs.Store, config func(*tls.Config)) (seenByClient, seenByServer string, refused, failed error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ln := bufconn.Listen(1 << 16) // with net.Pipe, an alert blocks until the other side reads
	accepted := make(chan *tls.Conn, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		conn := tls.Server(nc, server.Server())
		_ = conn.HandshakeContext(ctx) // the client gets the same error
		_ = conn.CloseWrite()
		accepted <- conn
	}()
	nc, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	cfg := client.Client().Clone()
	if config != nil {
		config(cfg)
	}
	cl := tls.Client(nc, cfg)
	failed = cl.HandshakeContext(ctx)
	srv := <-accepted
	_, _ = nc.Close(), srv.Close()
	state := srv.ConnectionState()
	if certs := cl.ConnectionState().PeerCertificates; failed == nil {
		seenByClient = certs[0].Subject.CommonName
	}
	if len(state.PeerCertificates) > 0 {
		seenByServer = state.PeerCertificates[0].Subject.CommonName
	}
	return seenByClient, seenByServer, server.CheckClient(&state), failed
}

// bundle returns a CA file with several certificates.
func bundle(cas ...*certstest.CA) []byte {
	var all []byte
	for _, ca := range cas {
		all = append(all, ca.PEM...)
	}
	return all
}

func TestBothSidesVerify(t *testing.T) {
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	mount := func(by *certstest.CA, name string, change func(*x509.Certificate), trusts ...*certstest.CA) *certstest.Mount {
		cert, key := by.Issue(name, change)
		return certstest.NewMount(t, cert, key, bundle(trusts...))
	}
	plain := mount(ca, "pod-b", nil, ca)
	addressed := mount(ca, "pod-a", func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1), net.ParseIP("2001:db8::1")}
	}, ca)
	for name, tc := range map[string]struct {
		server, client  *certstest.Mount
		serverName      string
		requires        string // the serverName of the server, by which it judges who asks
		failed, refused string // parts of the errors of the client and of the server; "-": any
	}{
		"both good":         {server: mount(ca, "pod-a", nil, ca), client: plain},
		"a bundle":          {server: mount(ca, "pod-a", nil, other, ca), client: plain},
		"the right name":    {server: mount(ca, "pods.test", nil, ca), client: plain, serverName: "pods.test"},
		"another name":      {server: mount(ca, "pod-a", nil, ca), client: plain, serverName: "pods.test", failed: "not pods.test", refused: "-"},
		"asks by name":      {server: plain, client: mount(ca, "pods.test", nil, ca), requires: "pods.test"},
		"asks as another":   {server: plain, client: mount(ca, "of-others.test", nil, ca), requires: "pods.test", refused: "not pods.test"},
		"the right address": {server: addressed, client: plain, serverName: "10.0.0.1"},
		"another address":   {server: addressed, client: plain, serverName: "10.0.0.2", failed: "not 10.0.0.2", refused: "-"},
		"asks by address":   {server: plain, client: addressed, requires: "2001:db8::1"},
		"expired server":    {server: mount(ca, "pod-a", certstest.Expired, ca), client: plain, failed: "expired", refused: "-"},
		"other CA (server)": {server: mount(other, "pod-a", nil, ca), client: plain, failed: "unknown authority", refused: "-"},
		"expired client":    {server: plain, client: mount(ca, "pod-a", certstest.Expired, ca), refused: "expired"},
		"other CA (client)": {server: plain, client: mount(other, "pod-a", nil, ca), refused: "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			var p problems
			client, server := newStore(t, tc.client, tc.serverName, &p), newStore(t, tc.server, tc.requires, &p)
			_, _, refused, failed := shake(t, server, client, nil)
			check := func(side string, err error, want string) {
				if want != "-" && (err == nil) != (want == "") || err != nil && want != "-" && !strings.Contains(err.Error(), want) {
					t.Errorf("error of the %s: %v, want %q", side, err, want)
				}
			}
			check("client", failed, tc.failed)
			check("server", refused, tc.refused)
		})
	}
}

func TestIntermediates(t *testing.T) {
	root := certstest.NewCA(t, "root")
	between := certstest.NewCA(t, "between")
	signed := root.Sign(between)
	cert, key := between.Issue("pod-a", nil)
	var p problems
	s := newStore(t, certstest.NewMount(t, append(cert, signed...), key, root.PEM), "", &p)
	if _, _, refused, failed := shake(t, s, s, nil); refused != nil || failed != nil {
		t.Errorf("the server reports %v, the client %v, want no error", refused, failed)
	}
}

// The server must accept a connection without a certificate, such as a kubelet's, but
// CheckClient must refuse it.
func TestWithoutAClientCertificate(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Issue("pod-a", nil)
	var p problems
	s := newStore(t, certstest.NewMount(t, cert, key, ca.PEM), "", &p)
	_, _, refused, failed := shake(t, s, s, func(c *tls.Config) { c.Certificates = nil })
	if failed != nil || !errors.Is(refused, certs.ErrNoCertificate) || !errors.Is(s.CheckClient(nil), certs.ErrNoCertificate) {
		t.Errorf("the handshake returned %v, CheckClient %v", failed, refused)
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, _, refused, failed := shake(t, s, s, func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		if got := refused == nil && failed == nil; got != ok {
			t.Errorf("%s: the server reports %v, the client %v, want success %v", tls.VersionName(version), refused, failed, ok)
		}
	}
}

// TestRotation runs a whole rotation at both ends: new files count after a second at the
// latest, the files are not read more often, and bad ones change nothing.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, next := certstest.NewCA(t, "ca"), certstest.NewCA(t, "next")
		cert1, key1 := ca.Issue("one", nil)
		cert2, key2 := next.Issue("two", nil)
		m := certstest.NewMount(t, cert1, key1, ca.PEM)
		var p problems
		s := newStore(t, m, "", &p)
		want := func(step, name string, reports ...string) {
			t.Helper()
			byClient, byServer, refused, failed := shake(t, s, s, nil)
			if byClient != name || byServer != name || refused != nil || failed != nil {
				t.Errorf("%s: the client saw %q, the server %q, want %q; %v, %v", step, byClient, byServer, name, refused, failed)
			}
			if len(p) != len(reports) || slices.ContainsFunc(reports, func(text string) bool {
				return !strings.Contains(strings.Join(p, "\n"), text)
			}) {
				t.Errorf("%s: reported %q, want %q", step, p, reports)
			}
			p = nil
		}
		want("at first", "one")
		first := s.Client()
		m.Swap(cert2, key2, next.PEM)
		want("within the second", "one")
		if s.Client() != first {
			t.Error("the configuration changed though the files were not read")
		}
		time.Sleep(time.Second)
		want("after a second", "two")
		if s.Client() == first {
			t.Error("the configuration is still that of the old files")
		}

		m.Swap(cert2, key1, next.PEM)
		time.Sleep(time.Second)
		want("bad once, maybe half written", "two")
		time.Sleep(time.Second)
		want("bad twice", "two", "private key does not match")
		time.Sleep(time.Second)
		want("reported only once", "two")
		m.Swap([]byte("no PEM"), key1, next.PEM)
		time.Sleep(time.Second)
		want("bad in another way, once", "two")
		time.Sleep(time.Second)
		want("bad in another way, twice", "two", "failed to find any PEM data")
		m.Swap(cert1, key1, ca.PEM)
		time.Sleep(time.Second)
		want("good again", "one", "")
	})
}

// Files that are written in place, one after the other, must never be reported.
func TestFilesWrittenInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certstest.NewCA(t, "ca")
		cert, key := ca.Issue("one", nil)
		m := certstest.NewMount(t, cert, key, ca.PEM)
		var p problems
		s := newStore(t, m, "", &p)
		cert, key = ca.Issue("two", nil)
		for _, f := range []struct {
			name string
			text []byte
		}{{m.Files.Cert, nil}, {m.Files.Cert, cert[:100]}, {m.Files.Cert, cert}, {m.Files.Key, key}, {m.Files.CA, ca.PEM[:200]}, {m.Files.CA, ca.PEM}} {
			if err := os.WriteFile(f.name, f.text, 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if _, _, refused, failed := shake(t, s, s, nil); refused != nil || failed != nil {
				t.Errorf("after %s changed: the server reports %v, the client %v", f.name, refused, failed)
			}
		}
		if name, _, _, _ := shake(t, s, s, nil); name != "two" || len(p) != 0 {
			t.Errorf("certificate %q is in force, reported %q, want two and no report", name, p)
		}
	})
}

func TestExpiryIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certstest.NewCA(t, "ca")
		cert, key := ca.Issue("one", nil)
		var p problems
		s := newStore(t, certstest.NewMount(t, cert, key, ca.PEM), "", &p)
		time.Sleep(239 * time.Hour)
		s.Client()
		if len(p) != 0 {
			t.Errorf("reported %q before the certificate expired", p)
		}
		time.Sleep(2 * time.Hour)
		s.Client()
		if len(p) != 1 || !strings.Contains(p[0], "tls.crt expired on ") {
			t.Errorf("reported %q, want one report of the expiry", p)
		}
	})
}

func TestBadFiles(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Issue("one", nil)
	only := func(usage x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{usage} }
	}
	serverCert, serverKey := ca.Issue("one", only(x509.ExtKeyUsageServerAuth))
	clientCert, clientKey := ca.Issue("one", only(x509.ExtKeyUsageClientAuth))
	broken := bytes.Replace(ca.PEM, []byte("\nMII"), []byte("\nMIA"), 1)
	for _, tc := range []struct {
		want          string
		cert, key, ca []byte
	}{
		{"tls.crt with key ", nil, key, ca.PEM},
		{"tls.crt with key ", cert, nil, ca.PEM},
		{"ca.crt: no certificate", cert, key, nil},
		{"ca.crt: no certificate", cert, key, []byte("words")},
		{"ca.crt: no certificate, or one that is cut off", cert, key, append(slices.Clone(ca.PEM), ca.PEM[:90]...)},
		{"ca.crt: entry 1 is a PRIVATE KEY", cert, key, key},
		{"ca.crt: entry 2: ", cert, key, append(slices.Clone(ca.PEM), broken...)},
		{"ca.crt has more than 1048576 bytes", cert, key, make([]byte, 1<<20+1)},
		{"must allow both server and client authentication", serverCert, serverKey, ca.PEM},
		{"must allow both server and client authentication", clientCert, clientKey, ca.PEM},
	} {
		_, err := certs.New(certstest.NewMount(t, tc.cert, tc.key, tc.ca).Files, "", func(string) {})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %q", err, tc.want)
		}
	}
	_, err := certs.New(certs.Files{Cert: "/nowhere/tls.crt"}, "", func(string) {})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/tls.crt") {
		t.Errorf("missing file: %v, want %v", err, fs.ErrNotExist)
	}
}

// report may write to a log that is stuck, and handshakes must not wait for it.
func TestReportMayBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certstest.NewCA(t, "ca")
		cert, key := ca.Issue("one", nil)
		m := certstest.NewMount(t, cert, key, ca.PEM)
		var p problems
		unstick := make(chan struct{})
		s, err := certs.New(m.Files, "", func(problem string) {
			<-unstick
			p.add(problem)
		})
		if err != nil {
			t.Fatal(err)
		}
		good, err := os.ReadFile(m.Files.Cert)
		if err != nil {
			t.Fatal(err)
		}
		read := func() {
			time.Sleep(time.Second)
			go s.Client()
			synctest.Wait()
		}
		for range 3 { // bad files are reported after two reads
			if err := os.WriteFile(m.Files.Cert, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			read()
		}
		done := make(chan struct{})
		go func() { defer close(done); s.Client() }()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("a handshake waits for report")
		}
		if err := os.WriteFile(m.Files.Cert, good, 0o600); err != nil {
			t.Fatal(err)
		}
		read()
		read()
		close(unstick)
		synctest.Wait()
		if len(p) != 2 || p[0] == "" || p[1] != "" {
			t.Errorf("reported %q, want the problem and then its end", p)
		}
	})
}

// The validity is that of the certificate in force.
func TestValidity(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Issue("pod-a", nil)
	var p problems
	s := newStore(t, certstest.NewMount(t, cert, key, ca.PEM), "", &p)
	block, _ := pem.Decode(cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if from, until := s.Validity(); !from.Equal(leaf.NotBefore) || !until.Equal(leaf.NotAfter) {
		t.Errorf("got %v to %v, want %v to %v", from, until, leaf.NotBefore, leaf.NotAfter)
	}
}
