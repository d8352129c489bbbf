package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// keyring holds this pod's certificate and the CAs of its clients. It follows the files:
// a renewed certificate is used from the next handshake on. A nil keyring stands for
// plaintext.
type keyring struct {
	cert, key, clientCA string
	log                 *slog.Logger

	mu       sync.Mutex
	loadedAt time.Time // of the latest attempt
	valid    *material
	loggedAs string // the error that was last logged; empty while the files are valid
}

// material is the content of the files when they were last valid.
type material struct {
	cert    tls.Certificate
	clients *x509.CertPool // nil: clients need no certificate
}

// reloadEvery is the shortest time between two reads of the files, which handshakes
// cause.
const reloadEvery = time.Second

func loadKeyring(o *options, log *slog.Logger) (*keyring, error) {
	if o.tlsCert == "" {
		return nil, nil //nolint:nilnil // nil stands for plaintext
	}
	k := &keyring{cert: o.tlsCert, key: o.tlsKey, clientCA: o.tlsClientCA, log: log, loadedAt: time.Now()}
	var err error
	k.valid, err = k.load()
	return k, err
}

func (k *keyring) load() (*material, error) {
	cert, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		return nil, fmt.Errorf("-tls-cert, -tls-key: %w", err)
	}
	m := &material{cert: cert}
	if k.clientCA == "" {
		return m, nil
	}
	pem, err := os.ReadFile(k.clientCA) //nolint:gosec // the path is a flag
	if err != nil {
		return nil, fmt.Errorf("-tls-client-ca: %w", err)
	}
	m.clients = x509.NewCertPool()
	if !m.clients.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-tls-client-ca: %s contains no certificate", k.clientCA)
	}
	return m, nil
}

// current returns the certificate and CAs to use. It reloads the files if reloadEvery has
// passed, and keeps the old content if they are invalid.
func (k *keyring) current() *material {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.loadedAt) < reloadEvery {
		return k.valid
	}
	k.loadedAt = time.Now()
	m, err := k.load()
	if err == nil {
		k.valid, k.loggedAs = m, ""
		return m
	}
	if text := err.Error(); text != k.loggedAs {
		k.loggedAs = text
		k.log.Warn("cannot reload the certificate files, keeping the old certificate", "error", err)
	}
	return k.valid
}

// config returns the TLS configuration of the listener. HTTP/1.1 is offered last, for clients
// that speak nothing else.
func (k *keyring) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := k.current()
		cfg := &tls.Config{Certificates: []tls.Certificate{m.cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
		if m.clients != nil {
			cfg.ClientCAs, cfg.ClientAuth = m.clients, tls.RequireAndVerifyClientCert
		}
		return cfg, nil
	}}
}
