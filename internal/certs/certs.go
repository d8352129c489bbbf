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
	// lookEvery is the shortest time between two looks at the files. Bad content is
	// told of when two looks agree: files that are written one after the other, or in
	// place, do not fit together for a moment.
	lookEvery = time.Second
	// maxFile bounds a file; a bundle of every public CA has 200 KiB.
	maxFile = 1 << 20
)

// ErrNoCertificate is why whoever shows no certificate is refused.
var ErrNoCertificate = errors.New("no client certificate was shown")

// Files are where the certificates stand, each in PEM.
type Files struct {
	// Cert is the pod's own certificate and what chains it to CA, good for both sides
	// of a connection; Key is its key; CA is one or more certificates that sign those
	// of all pods.
	Cert, Key, CA string
}

// Store holds what stood in the files when they were last good. It is safe for
// concurrent use.
type Store struct {
	files      Files
	serverName string
	tell       func(problem string)

	mu      sync.Mutex
	looked  time.Time
	seen    [sha256.Size]byte // what was found by the last look
	bad     error             // what is wrong with that
	problem string            // what is to be told
	told    string
	telling bool
	good    *material
}

// material is what the files came to.
type material struct {
	cert   *tls.Certificate
	roots  *x509.CertPool
	client *tls.Config
}

// New reads the files, and fails if they are not good. Servers must have a certificate
// for serverName; if it is empty, as it is for pods that are asked by address, any
// that CA has signed will do. tell is called with what is wrong with the files when it
// changes, and with nothing once they are good again; it must not call the Store.
func New(files Files, serverName string, tell func(problem string)) (*Store, error) {
	s := &Store{files: files, serverName: serverName, tell: tell}
	s.lookLocked()
	s.tellNews()
	return s, s.bad
}

// Server returns the configuration for a server. It asks clients for a certificate
// but takes any, and none: who needs a good one calls CheckClient.
func (s *Store) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.current().cert, nil
		},
		// Nobody who asks keeps tickets; they would be half of what is sent.
		SessionTicketsDisabled: true,
	}
}

// Client returns the configuration for a client: another pointer after each change of
// the files. It must not be changed.
func (s *Store) Client() *tls.Config { return s.current().client }

// CheckClient returns nil if the connection's client has shown a certificate that CA
// has signed, by the files of now. A nil state is a connection without TLS.
func (s *Store) CheckClient(state *tls.ConnectionState) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return ErrNoCertificate
	}
	return verify(state.PeerCertificates, s.current().roots, x509.ExtKeyUsageClientAuth, "")
}

// verify follows the chain of a certificate to roots. An empty name is any.
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

// current looks at the files, if it is time, and returns what is in force.
func (s *Store) current() *material {
	s.mu.Lock()
	look := time.Since(s.looked) >= lookEvery
	if look {
		s.lookLocked()
	}
	good := s.good
	s.mu.Unlock()
	if look {
		s.tellNews()
	}
	return good
}

// tellNews tells of one problem after the other, without the lock: who is told may block
// for as long as it likes, and handshakes go on.
func (s *Store) tellNews() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.telling {
		return // and will see what is new
	}
	s.telling = true
	for s.told != s.problem {
		s.told = s.problem
		s.tellUnlocked(s.problem)
	}
	s.telling = false
}

func (s *Store) tellUnlocked(problem string) {
	s.mu.Unlock()
	defer s.mu.Lock()
	s.tell(problem)
}

// lookLocked takes what is new in the files. What is bad once may be half written; what
// is bad twice is told.
func (s *Store) lookLocked() {
	s.looked = time.Now()
	texts, err := s.files.read()
	if sum := sumOf(texts, err); sum != s.seen {
		s.seen = sum
		if s.bad = err; err == nil {
			s.takeLocked(texts)
		}
		if s.bad != nil {
			return
		}
	}
	switch {
	case s.bad != nil:
		s.problem = s.bad.Error()
	case s.looked.After(s.good.cert.Leaf.NotAfter):
		s.problem = fmt.Sprintf("certificate %s expired on %s", s.files.Cert, s.good.cert.Leaf.NotAfter.UTC().Format(time.DateTime))
	default:
		s.problem = ""
	}
}

func (s *Store) takeLocked(texts [3][]byte) {
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
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks the chain: the name is not that of the address
		VerifyConnection: func(state tls.ConnectionState) error {
			return verify(state.PeerCertificates, roots, x509.ExtKeyUsageServerAuth, s.serverName)
		},
	}}
}

// read returns the contents of cert, key and CA.
func (f *Files) read() (texts [3][]byte, err error) {
	for i, name := range []string{f.Cert, f.Key, f.CA} {
		if texts[i], err = readFile(name); err != nil {
			return texts, err
		}
	}
	return texts, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names it
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
		if !serves(pair.Leaf, usage) {
			return nil, fmt.Errorf("certificate %s: is not for both server and client authentication (extended key usage)", f.Cert)
		}
	}
	return &pair, nil
}

// serves tells whether c may be used so. Without any word on its usage it may.
func serves(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// roots reads every certificate; one that breaks off is a bundle half written.
func (f *Files) roots(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	n := 0
	for rest := text; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if n == 0 || bytes.Contains(rest, []byte("-----BEGIN")) {
				return nil, fmt.Errorf("CA %s: no certificate, or one that breaks off", f.CA)
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
