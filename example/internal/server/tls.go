package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// keyring is this pod's certificate and whom it trusts; nil stands for plaintext.
type keyring struct {
	cert    tls.Certificate
	clients *x509.CertPool // nil: clients show no certificate
}

func loadKeyring(o *options) (*keyring, error) {
	if o.tlsCert == "" {
		return nil, nil //nolint:nilnil // nil stands for plaintext
	}
	cert, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("-tls-cert, -tls-key: %w", err)
	}
	k := &keyring{cert: cert}
	if o.tlsClientCA == "" {
		return k, nil
	}
	pem, err := os.ReadFile(o.tlsClientCA)
	if err != nil {
		return nil, fmt.Errorf("-tls-client-ca: %w", err)
	}
	k.clients = x509.NewCertPool()
	if !k.clients.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-tls-client-ca: no certificate in %s", o.tlsClientCA)
	}
	return k, nil
}

// server returns the credentials of the gRPC server, nil for plaintext.
func (k *keyring) server() credentials.TransportCredentials {
	if k == nil {
		return nil
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{k.cert}, MinVersion: tls.VersionTLS12}
	if k.clients != nil {
		cfg.ClientCAs, cfg.ClientAuth = k.clients, tls.RequireAndVerifyClientCert
	}
	return credentials.NewTLS(cfg)
}

// loopback returns the credentials with which the gateway calls its own process. It
// accepts this very certificate and no other: whatever name and CA it carries.
func (k *keyring) loopback() credentials.TransportCredentials {
	if k == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{
		Certificates:       []tls.Certificate{k.cert},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection is stricter: this one certificate
		VerifyConnection: func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, k.cert.Certificate[0]) {
				return errors.New("not the certificate of this process")
			}
			return nil
		},
	})
}
