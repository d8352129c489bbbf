package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
	"github.com/evenkeel-go/evenkeel/test/conformance/tracker"
)

// wire is the transport of a server.
type wire string

const (
	plaintext wire = "plaintext"
	overTLS   wire = "tls"
)

func wires() []wire { return []wire{plaintext, overTLS} }

// eachWire does the same on every transport, at the same time, and reports whether all went well.
func eachWire(do func(wire) (bool, error)) (bool, error) {
	var wg sync.WaitGroup
	good, errs := make([]bool, len(wires())), make([]error, len(wires()))
	for i, w := range wires() {
		wg.Go(func() { good[i], errs[i] = do(w) })
	}
	wg.Wait()
	return !slices.Contains(good, false), errors.Join(errs...)
}

// server is a server on loopback with the service of the interop tests.
type server struct {
	addr string
	srv  *grpc.Server
	bal  *rebalance.Balancer // nil for a bare one, and behind a sidecar
	// status is that of what tracks its connections; nil for a bare one.
	status func() (rebalance.Status, error)
	stop   func() error
}

// serve starts a server; opts stand after its own. A tracked one is made as a user makes it,
// and its Balancer runs.
func serve(kind serverKind, w wire, opts ...grpc.ServerOption) (*server, error) {
	switch kind {
	case behind:
		return serveBehind(w)
	case behindDrained:
		return serveBehind(w, "-set", sidecarAge)
	case web, bareWeb:
		return serveWeb(kind, w)
	}
	creds, err := serverCreds(w)
	if err != nil {
		return nil, err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{addr: lis.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	if kind == tracked {
		if err := s.track(); err != nil {
			cancel()
			return nil, err
		}
		go func() { ended <- s.bal.Run(ctx) }()
		own := append(serveropts.Options(s.bal, creds), grpc.Creds(tracker.Break(serveropts.TransportCredentials(s.bal, creds))))
		opts = append(own, opts...)
	} else {
		ended <- nil
		opts = append([]grpc.ServerOption{grpc.Creds(creds)}, opts...)
	}
	s.srv = grpc.NewServer(opts...)
	testpb.RegisterTestServiceServer(s.srv, interop.NewTestServer())
	go func() { ended <- s.srv.Serve(lis) }()
	s.stop = func() error {
		cancel()
		s.srv.Stop()
		return errors.Join(<-ended, <-ended)
	}
	return s, nil
}

// track makes a Balancer for the server.
func (s *server) track() (err error) {
	s.bal, err = rebalance.New(config.Default(),
		rebalance.WithSelf("conformance", "127.0.0.1"), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	s.status = func() (rebalance.Status, error) { return s.bal.Status(), nil }
	return err
}

// tracks fails if a tracked server has not tracked a connection: then its results show nothing.
func (s *server) tracks() error {
	if s.status == nil {
		return nil
	}
	status, err := s.status()
	if err == nil && status.Tracked == 0 {
		err = fmt.Errorf("the server on %s has tracked no connection", s.addr)
	}
	return err
}

func serverCreds(w wire) (credentials.TransportCredentials, error) {
	if w == plaintext {
		return insecure.NewCredentials(), nil
	}
	cert, err := certificate()
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), err
}

// clientCreds accept any certificate, since the server is on loopback.
func clientCreds(w wire) credentials.TransportCredentials {
	if w == plaintext {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
}

var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})
