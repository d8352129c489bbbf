package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// readEvery is the shortest time between two reads of the files. Bad content is reported
	// when two reads agree: files that are written in place, or one after the other, do not
	// match for a moment.
	readEvery = time.Second
	// maxFile bounds a file. A bundle of every public CA has 200 KiB.
	maxFile = 1 << 20
)

// ErrNoCertificate is the error for a client that presents no certificate.
var ErrNoCertificate = errors.New("the client presented no certificate")

// Files are the names of the files, each in PEM.
type Files struct {
	// Cert has the pod's own certificate and its chain to CA, for both sides of a
	// connection. Key has its key. CA has the one or more certificates that sign those of
	// all pods.
	Cert, Key, CA string
}

// Store holds the content of the files when they were last good. It is safe for concurrent
// use.
type Store struct {
	files      Files
	serverName string
	report     func(problem string)

	mu        sync.Mutex
	readAt    time.Time
	sum       [sha256.Size]byte // of the content at readAt
	bad       error             // what is wrong with that content
	problem   string            // the problem to report
	reported  string            // the problem reported last
	reporting bool
	good      *material
}

// material is the parsed content of good files.
type material struct {
	cert   *tls.Certificate
	roots  *x509.CertPool
	client *tls.Config
}

// New reads the files, and fails if they are not good. Servers and clients must have a
// certificate for serverName. If it is empty, as for pods that are found by address, any certificate signed
// by CA will do.
//
// report is called when the problem with the files changes, and with an empty text once
// they are good again. It must not call the Store.
func New(files Files, serverName string, report func(problem string)) (*Store, error) {
	s := &Store{files: files, serverName: serverName, report: report}
	s.readLocked()
	s.reportNews()
	return s, s.bad
}

// Server returns the configuration for a server. It requests a client certificate, but
// accepts any certificate and none. Call CheckClient to require a good one.
func (s *Store) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.current().cert, nil
		},
		// The pods keep no tickets, which would be half of the bytes sent.
		SessionTicketsDisabled: true,
	}
}

// Client returns the configuration for a client. The pointer differs after each change of
// the files. The caller must not change the configuration.
func (s *Store) Client() *tls.Config { return s.current().client }

// Validity returns when the certificate in force is valid.
func (s *Store) Validity() (notBefore, notAfter time.Time) {
	leaf := s.current().cert.Leaf
	return leaf.NotBefore, leaf.NotAfter
}

// CheckClient returns nil if the client of the connection has presented a certificate that
// the current CA has signed, with the server name if that is set: pods have it on both sides.
// A nil state is a connection without TLS.
func (s *Store) CheckClient(state *tls.ConnectionState) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return ErrNoCertificate
	}
	return verify(state.PeerCertificates, s.current().roots, x509.ExtKeyUsageClientAuth, s.serverName)
}

// verify checks the chain of a certificate up to roots. An empty name allows any name.
func verify(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, name string) error {
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage},
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// current reads the files if the last read is too old, and returns what is in force.
func (s *Store) current() *material {
	s.mu.Lock()
	due := time.Since(s.readAt) >= readEvery
	if due {
		s.readLocked()
	}
	good := s.good
	s.mu.Unlock()
	if due {
		s.reportNews()
	}
	return good
}

// reportNews reports one problem after the other without holding the lock: report may
// block, and handshakes must go on.
func (s *Store) reportNews() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reporting {
		return // the call in progress will see the news
	}
	s.reporting = true
	for s.reported != s.problem {
		s.reported = s.problem
		s.reportUnlocked(s.problem)
	}
	s.reporting = false
}

func (s *Store) reportUnlocked(problem string) {
	s.mu.Unlock()
	defer s.mu.Lock()
	s.report(problem)
}

// readLocked reads the files and accepts new content. Content that is bad once may be half
// written; content that is bad twice is a problem.
func (s *Store) readLocked() {
	s.readAt = time.Now()
	texts, err := s.files.read()
	if sum := sumOf(texts, err); sum != s.sum {
		s.sum = sum
		if s.bad = err; err == nil {
			s.acceptLocked(texts)
		}
		if s.bad != nil {
			return
		}
	}
	switch {
	case s.bad != nil:
		s.problem = s.bad.Error()
	case s.readAt.After(s.good.cert.Leaf.NotAfter):
		s.problem = fmt.Sprintf("certificate %s expired on %s", s.files.Cert, s.good.cert.Leaf.NotAfter.UTC().Format(time.DateTime))
	default:
		s.problem = ""
	}
}

func (s *Store) acceptLocked(texts [3][]byte) {
	cert, err := s.files.pair(texts[0], texts[1])
	if err != nil {
		s.bad = err
		return
	}
	roots, err := s.files.roots(texts[2])
	if err != nil {
		s.bad = err
		return
	}
	s.good = &material{cert: cert, roots: roots, client: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		Certificates:       []tls.Certificate{*cert},
		ServerName:         s.serverName,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks the chain, as the name is not that of the address
		VerifyConnection: func(state tls.ConnectionState) error {
			return verify(state.PeerCertificates, roots, x509.ExtKeyUsageServerAuth, s.serverName)
		},
	}}
}

// read returns the contents of Cert, Key and CA.
func (f *Files) read() (texts [3][]byte, err error) {
	for i, name := range []string{f.Cert, f.Key, f.CA} {
		if texts[i], err = readFile(name); err != nil {
			return texts, err
		}
	}
	return texts, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator chooses the file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return text, err
}

func sumOf(texts [3][]byte, err error) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(h, "%d:", len(text))
		h.Write(text)
	}
	fmt.Fprint(h, err)
	h.Sum(sum[:0])
	return sum
}

func (f *Files) pair(cert, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if !allows(pair.Leaf, usage) {
			return nil, fmt.Errorf("certificate %s: its extended key usage must allow both server and client authentication", f.Cert)
		}
	}
	return &pair, nil
}

// allows reports whether c may be used for usage. A certificate without any extended key
// usage may be used for all.
func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// roots parses every certificate of a bundle. One that is cut off means that the file is
// half written.
func (f *Files) roots(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	n := 0
	for rest := text; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if n == 0 || bytes.Contains(rest, []byte("-----BEGIN")) {
				return nil, fmt.Errorf("CA %s: no certificate, or one that is cut off", f.CA)
			}
			return pool, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("CA %s: entry %d is a %s, not a CERTIFICATE", f.CA, n+1, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CA %s: entry %d: %w", f.CA, n+1, err)
		}
		pool.AddCert(cert)
	}
}
