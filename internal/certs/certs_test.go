package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
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

// told collects what a Store tells.
type told []string

func (p *told) tell(problem string) { *p = append(*p, problem) }

func newStore(t *testing.T, m *certstest.Mount, serverName string, p *told) *certs.Store {
	t.Helper()
	s, err := certs.New(m.Files, serverName, p.tell)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake makes one handshake and returns the common names that the two sides
// saw of each other, what the server thinks of the client, and the client's error.
func shake(t *testing.T, server, client *certs.Store, config func(*tls.Config)) (seenByClient, seenByServer string, refused, failed error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ln := bufconn.Listen(1 << 16) // net.Pipe blocks who refuses: an alert needs a reader
	accepted := make(chan *tls.Conn, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		conn := tls.Server(nc, server.Server())
		_ = conn.HandshakeContext(ctx) // the client's error says the same
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

// bundle is a CA file of several.
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
	for name, tc := range map[string]struct {
		server, client  *certstest.Mount
		serverName      string
		failed, refused string // what the client and the server think of each other
	}{
		"good":            {server: mount(ca, "pod-a", nil, ca), client: plain},
		"a bundle":        {server: mount(ca, "pod-a", nil, other, ca), client: plain},
		"its name":        {server: mount(ca, "pods.test", nil, ca), client: plain, serverName: "pods.test"},
		"another name":    {server: mount(ca, "pod-a", nil, ca), client: plain, serverName: "pods.test", failed: "not pods.test", refused: "-"},
		"expired server":  {server: mount(ca, "pod-a", certstest.Expired, ca), client: plain, failed: "expired", refused: "-"},
		"server of other": {server: mount(other, "pod-a", nil, ca), client: plain, failed: "unknown authority", refused: "-"},
		"expired client":  {server: plain, client: mount(ca, "pod-a", certstest.Expired, ca), refused: "expired"},
		"client of other": {server: plain, client: mount(other, "pod-a", nil, ca), refused: "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			var p told
			client, server := newStore(t, tc.client, tc.serverName, &p), newStore(t, tc.server, "", &p)
			_, _, refused, failed := shake(t, server, client, nil)
			check := func(who string, err error, want string) {
				if want != "-" && (err == nil) != (want == "") || err != nil && want != "-" && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", who, err, want)
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
	var p told
	s := newStore(t, certstest.NewMount(t, append(cert, signed...), key, root.PEM), "", &p)
	if _, _, refused, failed := shake(t, s, s, nil); refused != nil || failed != nil {
		t.Errorf("%v, %v", refused, failed)
	}
}

// The server takes a connection without a certificate, as a kubelet's is, and says so
// when asked.
func TestWithoutAClientCertificate(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	cert, key := ca.Issue("pod-a", nil)
	var p told
	s := newStore(t, certstest.NewMount(t, cert, key, ca.PEM), "", &p)
	_, _, refused, failed := shake(t, s, s, func(c *tls.Config) { c.Certificates = nil })
	if failed != nil || !errors.Is(refused, certs.ErrNoCertificate) || !errors.Is(s.CheckClient(nil), certs.ErrNoCertificate) {
		t.Errorf("handshake %v, refused %v", failed, refused)
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, _, refused, failed := shake(t, s, s, func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		if got := refused == nil && failed == nil; got != ok {
			t.Errorf("%s: %v, %v", tls.VersionName(version), refused, failed)
		}
	}
}

// All of a rotation in its order, at both ends: new files count after a second at the
// latest, files are not looked at more often, and bad ones change nothing.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, next := certstest.NewCA(t, "ca"), certstest.NewCA(t, "next")
		cert1, key1 := ca.Issue("one", nil)
		cert2, key2 := next.Issue("two", nil)
		m := certstest.NewMount(t, cert1, key1, ca.PEM)
		var p told
		s := newStore(t, m, "", &p)
		want := func(step, name string, problems ...string) {
			t.Helper()
			byClient, byServer, refused, failed := shake(t, s, s, nil)
			if byClient != name || byServer != name || refused != nil || failed != nil {
				t.Errorf("%s: the client saw %q, the server %q, want %q; %v, %v", step, byClient, byServer, name, refused, failed)
			}
			if len(p) != len(problems) || slices.ContainsFunc(problems, func(text string) bool {
				return !strings.Contains(strings.Join(p, "\n"), text)
			}) {
				t.Errorf("%s: told %q, want %q", step, p, problems)
			}
			p = nil
		}
		want("at first", "one")
		first := s.Client()
		m.Swap(cert2, key2, next.PEM)
		want("within the second", "one")
		if s.Client() != first {
			t.Error("another configuration though nothing was looked at")
		}
		time.Sleep(time.Second)
		want("after it", "two")
		if s.Client() == first {
			t.Error("the configuration of the old files")
		}

		m.Swap(cert2, key1, next.PEM)
		time.Sleep(time.Second)
		want("bad once may be half written", "two")
		time.Sleep(time.Second)
		want("bad twice", "two", "private key does not match")
		time.Sleep(time.Second)
		want("told once", "two")
		m.Swap([]byte("no PEM"), key1, next.PEM)
		time.Sleep(time.Second)
		want("bad in another way, once", "two")
		time.Sleep(time.Second)
		want("and twice", "two", "failed to find any PEM data")
		m.Swap(cert1, key1, ca.PEM)
		time.Sleep(time.Second)
		want("good again", "one", "")
	})
}

// Files that are written in place, one after the other, are never complained about.
func TestFilesWrittenInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certstest.NewCA(t, "ca")
		cert, key := ca.Issue("one", nil)
		m := certstest.NewMount(t, cert, key, ca.PEM)
		var p told
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
				t.Errorf("%v, %v", refused, failed)
			}
		}
		if name, _, _, _ := shake(t, s, s, nil); name != "two" || len(p) != 0 {
			t.Errorf("%q is in force, told %q", name, p)
		}
	})
}

func TestExpiryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certstest.NewCA(t, "ca")
		cert, key := ca.Issue("one", nil)
		var p told
		s := newStore(t, certstest.NewMount(t, cert, key, ca.PEM), "", &p)
		time.Sleep(239 * time.Hour)
		s.Client()
		if len(p) != 0 {
			t.Errorf("told %q too early", p)
		}
		time.Sleep(2 * time.Hour)
		s.Client()
		if len(p) != 1 || !strings.Contains(p[0], "tls.crt expired on ") {
			t.Errorf("told %q", p)
		}
	})
}

func TestFilesThatAreNotGood(t *testing.T) {
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
		{"ca.crt: no certificate, or one that breaks off", cert, key, append(slices.Clone(ca.PEM), ca.PEM[:90]...)},
		{"ca.crt: entry 1 is a PRIVATE KEY", cert, key, key},
		{"ca.crt: entry 2: ", cert, key, append(slices.Clone(ca.PEM), broken...)},
		{"ca.crt has more than 1048576 bytes", cert, key, make([]byte, 1<<20+1)},
		{"is not for both server and client", serverCert, serverKey, ca.PEM},
		{"is not for both server and client", clientCert, clientKey, ca.PEM},
	} {
		_, err := certs.New(certstest.NewMount(t, tc.cert, tc.key, tc.ca).Files, "", func(string) {})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %q", err, tc.want)
		}
	}
	_, err := certs.New(certs.Files{Cert: "/nowhere/tls.crt"}, "", func(string) {})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/tls.crt") {
		t.Errorf("no file: %v", err)
	}
}

// Who is told may be a log that is stuck: handshakes must not wait for it.
func TestWhoIsToldMayBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certstest.NewCA(t, "ca")
		cert, key := ca.Issue("one", nil)
		m := certstest.NewMount(t, cert, key, ca.PEM)
		var p told
		unstick := make(chan struct{})
		s, err := certs.New(m.Files, "", func(problem string) {
			<-unstick
			p.tell(problem)
		})
		if err != nil {
			t.Fatal(err)
		}
		good, err := os.ReadFile(m.Files.Cert)
		if err != nil {
			t.Fatal(err)
		}
		look := func() {
			time.Sleep(time.Second)
			go s.Client()
			synctest.Wait()
		}
		for range 3 { // bad twice is told
			if err := os.WriteFile(m.Files.Cert, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			look()
		}
		done := make(chan struct{})
		go func() { defer close(done); s.Client() }()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("a handshake waits for who is told")
		}
		if err := os.WriteFile(m.Files.Cert, good, 0o600); err != nil {
			t.Fatal(err)
		}
		look()
		look()
		close(unstick)
		synctest.Wait()
		if len(p) != 2 || p[0] == "" || p[1] != "" {
			t.Errorf("told %q, want the problem and its end", p)
		}
	})
}
