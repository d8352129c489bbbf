package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

const loopback = "127.0.0.1"

// fewStreams is a MAX_CONCURRENT_STREAMS that clients run into all the time.
const fewStreams = 8

// security is how servers and clients protect their connections.
type security struct {
	server, client credentials.TransportCredentials
	config         *tls.Config // the client's; nil for plaintext
}

// securities returns plaintext and TLS. Every drain makes handshakes, which are a quarter of
// all the work. The cheapest ones leave the most time for RPCs: no hybrid key exchange, and
// sessions that are resumed.
func securities() ([]security, error) {
	cert, roots, err := selfSigned()
	if err != nil {
		return nil, err
	}
	server := &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13}
	client := &tls.Config{
		RootCAs: roots, ServerName: loopback, MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519}, ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	return []security{
		{insecure.NewCredentials(), insecure.NewCredentials(), nil},
		{credentials.NewTLS(server), credentials.NewTLS(client), client},
	}, nil
}

func selfSigned() (*tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP(loopback)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
}

// pod is a tracked server with a Balancer of its own.
type pod struct {
	bal  *rebalance.Balancer
	srv  *grpc.Server
	addr string
	stop func()
	done chan error // Run and Serve return into it
}

func startPod(s security, ledger *ledger, opts ...grpc.ServerOption) (*pod, error) {
	// Each drain is a decision and would be a line of the log.
	bal, err := rebalance.New(config.Default(), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	lis, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv := grpc.NewServer(append(opts, serveropts.Options(bal, s.server)...)...)
	hellov1.RegisterHelloServiceServer(srv, &service{ledger: ledger})
	health.Register(srv, bal)
	p := &pod{bal: bal, srv: srv, addr: lis.Addr().String(), stop: cancel, done: make(chan error, 2)}
	go func() { p.done <- bal.Run(ctx) }()
	go func() { p.done <- srv.Serve(lis) }()
	return p, nil
}

func (p *pod) end() error {
	p.srv.Stop()
	p.stop()
	return errors.Join(<-p.done, <-p.done)
}

// fleet is two pods per security, of which the second allows few concurrent streams.
type fleet struct {
	pods []*pod
}

func startFleet(all []security, ledger *ledger) (*fleet, error) {
	f := &fleet{}
	for _, s := range all {
		for _, opts := range [][]grpc.ServerOption{nil, {grpc.MaxConcurrentStreams(fewStreams)}} {
			p, err := startPod(s, ledger, opts...)
			if err != nil {
				return nil, errors.Join(err, f.end())
			}
			f.pods = append(f.pods, p)
		}
	}
	return f, nil
}

// of returns the addresses of the pods with the i-th security.
func (f *fleet) of(i int) []string {
	return []string{f.pods[2*i].addr, f.pods[2*i+1].addr}
}

func (f *fleet) end() error {
	var errs []error
	for _, p := range f.pods {
		errs = append(errs, p.end())
	}
	return errors.Join(errs...)
}

// census is what the Balancers know of their connections, in all.
type census struct {
	open, draining  int
	opened, goaways uint64
	closed          map[string]uint64
}

func (f *fleet) census() census {
	c := census{closed: map[string]uint64{}}
	for _, p := range f.pods {
		s := p.bal.Status()
		c.open += s.Connections
		c.draining += s.Draining
		c.opened += s.Opened
		for _, n := range s.GoAways {
			c.goaways += n
		}
		for how, n := range s.Closed {
			c.closed[how] += n
		}
	}
	return c
}

// empty waits until no connection is left, for at most d, and returns how many are.
func (f *fleet) empty(d time.Duration) int {
	for end := time.Now().Add(d); ; time.Sleep(10 * time.Millisecond) {
		if left := f.census().open; left == 0 || time.Now().After(end) {
			return left
		}
	}
}
