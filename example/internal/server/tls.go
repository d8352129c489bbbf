package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// keyring is this pod's certificate and whom it trusts, as the files have them: a renewed
// certificate counts with the next handshake. Nil stands for plaintext.
type keyring struct {
	cert, key, clientCA string
	log                 *slog.Logger

	mu     sync.Mutex
	looked time.Time
	now    *material
	wrong  string // what the log heard last
}

// material is what the files came to when they were last good.
type material struct {
	cert    tls.Certificate
	clients *x509.CertPool // nil: clients show no certificate
}

// lookEvery is how often the files are read at most, by handshakes that need them.
const lookEvery = time.Second

func loadKeyring(o *options, log *slog.Logger) (*keyring, error) {
	if o.tlsCert == "" {
		return nil, nil //nolint:nilnil // nil stands for plaintext
	}
	k := &keyring{cert: o.tlsCert, key: o.tlsKey, clientCA: o.tlsClientCA, log: log, looked: time.Now()}
	var err error
	k.now, err = k.load()
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
	pem, err := os.ReadFile(k.clientCA)
	if err != nil {
		return nil, fmt.Errorf("-tls-client-ca: %w", err)
	}
	m.clients = x509.NewCertPool()
	if !m.clients.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-tls-client-ca: no certificate in %s", k.clientCA)
	}
	return m, nil
}

// current looks at the files, if it is time. Bad ones change nothing.
func (k *keyring) current() *material {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) < lookEvery {
		return k.now
	}
	k.looked = time.Now()
	m, err := k.load()
	if err == nil {
		k.now, k.wrong = m, ""
		return m
	}
	if text := err.Error(); text != k.wrong {
		k.wrong = text
		k.log.Warn("the certificate in use stays, its files are not good", "error", err)
	}
	return k.now
}

// server returns the credentials of the gRPC server; without files it serves plaintext.
func (k *keyring) server() credentials.TransportCredentials {
	if k == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := k.current()
		cfg := &tls.Config{Certificates: []tls.Certificate{m.cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
		if m.clients != nil {
			cfg.ClientCAs, cfg.ClientAuth = m.clients, tls.RequireAndVerifyClientCert
		}
		return cfg, nil
	}})
}

// loopback returns the credentials with which the gateway calls its own process. It
// accepts this very certificate and no other: whatever name and CA it carries.
func (k *keyring) loopback() credentials.TransportCredentials {
	if k == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &k.current().cert, nil
		},
		InsecureSkipVerify: true, // VerifyConnection is stricter: this one certificate
		VerifyConnection: func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, k.current().cert.Certificate[0]) {
				return errors.New("not the certificate of this process")
			}
			return nil
		},
	})
}
