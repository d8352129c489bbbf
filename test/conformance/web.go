package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/evenkeel-go/evenkeel/serveropts"
	"github.com/evenkeel-go/evenkeel/test/conformance/tracker"
)

// webs compares the outcome of each case of h2spec on a bare and on a tracked server of
// net/http, and runs grpc's interop test cases through ServeHTTP, drained all the time.
func webs(ctx context.Context, o *options) (bool, error) { return h2specAndInterop(ctx, o, web, web) }

// serveWeb starts a server of net/http: h2c, or HTTP/2 with TLS.
func serveWeb(kind serverKind, w wire) (*server, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{addr: lis.Addr().String(), srv: grpc.NewServer()}
	testpb.RegisterTestServiceServer(s.srv, interop.NewTestServer())
	srv, err := webServer(s.srv, w)
	if err != nil {
		return nil, errors.Join(err, lis.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	serve, serveTLS := srv.Serve, srv.ServeTLS
	if kind == web {
		if err := s.track(); err != nil {
			cancel()
			return nil, err
		}
		go func() { ended <- s.bal.Run(ctx) }()
		own := serveropts.HTTPServer(s.bal, srv)
		serve, serveTLS, lis = own.Serve, own.ServeTLS, tracker.BreakListener(lis)
	} else {
		ended <- nil
	}
	go func() {
		if w == overTLS {
			ended <- serveTLS(lis, "", "")
		} else {
			ended <- serve(lis)
		}
	}()
	s.stop = func() error {
		cancel()
		_ = srv.Close()
		return withoutClosed(<-ended, <-ended)
	}
	return s, nil
}

// withoutClosed joins errors but for that of a server that was closed.
func withoutClosed(errs ...error) (joined error) {
	for _, err := range errs {
		if !errors.Is(err, http.ErrServerClosed) {
			joined = errors.Join(joined, err)
		}
	}
	return joined
}

// webServer returns a server that passes gRPC on, and answers all else.
func webServer(rpcs http.Handler, w wire) (*http.Server, error) {
	srv := &http.Server{
		Protocols: new(http.Protocols),
		ErrorLog:  log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				rpcs.ServeHTTP(w, r)
				return
			}
			_, _ = io.WriteString(w, "hello")
		}),
	}
	srv.Protocols.SetHTTP2(w == overTLS)
	srv.Protocols.SetUnencryptedHTTP2(w == plaintext)
	if w == plaintext {
		return srv, nil
	}
	cert, err := certificate()
	srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	return srv, err
}
