package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Limits of the server. Everything it is asked fits in one packet and everything
// it answers in a few hundred KiB, so they are tight: a client that is slower than
// this is broken or hostile.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second // beyond Prometheus' usual scrape_timeout of 10 s
	idleTimeout       = 2 * time.Minute  // beyond the usual scrape interval: scrapers keep their connection
	maxHeaderBytes    = 128 << 10        // /peerz?keys= may have 67 KiB of keys

	// closeTimeout is how long requests may take to finish once ctx is done.
	closeTimeout = 2 * time.Second

	// maxConnAge is how long a connection is kept where certificates may change: what was
	// agreed upon with old ones is not used for longer.
	maxConnAge = time.Minute
)

// ListenAndServe serves [Handler] on addr, such as ":8080", until ctx is done;
// requests under way are then given up to 2 s. It returns nil then, and an error
// that names the address if it cannot listen (errors.Is syscall.EADDRINUSE if
// the port is taken). With peers.tls it serves HTTPS.
//
// Let ctx outlive [rebalance.Balancer.Shutdown]: during the lame duck the
// kubelet must be able to read that the pod is not ready, and peers that it is
// leaving.
func ListenAndServe(ctx context.Context, addr string, bal *rebalance.Balancer, opts ...Option) error {
	return listenAndServe(ctx, addr, sourceOf(bal), newOptions(opts))
}

// Serve is ListenAndServe on a listener of yours, which it closes. It tells bal
// the listener's port: that is where peers, alike as pods of one fleet are, are
// asked unless peers.port says otherwise.
func Serve(ctx context.Context, ln net.Listener, bal *rebalance.Balancer, opts ...Option) error {
	return serve(ctx, ln, sourceOf(bal), newOptions(opts))
}

func listenAndServe(ctx context.Context, addr string, src source, o options) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case ctx.Err() != nil:
		if ln != nil {
			_ = ln.Close()
		}
		return nil
	case err != nil:
		return failed(src, err)
	}
	return serve(ctx, ln, src, o)
}

func serve(ctx context.Context, ln net.Listener, src source, o options) error {
	srv, err := newServer(src, o)
	if err != nil {
		_ = ln.Close()
		src.HealthFailed(err)
		return err
	}
	src.HealthFailed(nil)
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok {
		src.SetHealthPort(tcp.Port)
	}
	ended := make(chan error, 1)
	go func() { ended <- serveOn(srv, ln) }()
	select {
	case err := <-ended:
		_ = srv.Close() // whoever asks again must not find half a server
		return failed(src, err)
	case <-ctx.Done():
		shutdown(ctx, srv)
		<-ended //nolint:errcheck // http.ErrServerClosed: it was shut down
		return nil
	}
}

// failed shows why the endpoint does not serve, for callers that start it with `go` and
// drop what it returns.
func failed(src source, err error) error {
	src.HealthFailed(err)
	return fmt.Errorf("health: %w", err)
}

// newServer returns the server with its limits, or what is wrong with the options.
func newServer(src source, o options) (*http.Server, error) {
	if o.tls != nil && !hasCertificate(o.tls) {
		return nil, errors.New("health: WithTLSConfig: no certificate in the tls.Config")
	}
	cfg := src.PeersTLS()
	if o.tls != nil && cfg != nil {
		return nil, errors.New("health: WithTLSConfig beside peers.tls: one port has one certificate, drop one of the two")
	}
	h, err := newHandler(src, o)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{
		Handler:           h,
		TLSConfig:         o.tls,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.logger.Handler(), slog.LevelWarn),
	}
	if cfg != nil {
		srv.TLSConfig = cfg
		boundConns(srv)
	}
	return srv, nil
}

// bornKey is the key in a connection's context of when it was accepted.
type bornKey struct{}

// boundConns ends each connection with the first answer after maxConnAge, and says so in
// that answer, so that no question is lost.
func boundConns(srv *http.Server) {
	srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, bornKey{}, time.Now())
	}
	next := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if born, ok := r.Context().Value(bornKey{}).(time.Time); ok && time.Since(born) >= maxConnAge {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func hasCertificate(cfg *tls.Config) bool {
	return len(cfg.Certificates) > 0 || cfg.GetCertificate != nil || cfg.GetConfigForClient != nil
}

func serveOn(srv *http.Server, ln net.Listener) error {
	if srv.TLSConfig != nil {
		return srv.ServeTLS(ln, "", "")
	}
	return srv.Serve(ln)
}

// shutdown lets requests finish for a moment, then closes what is left.
func shutdown(ctx context.Context, srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		_ = srv.Close()
	}
}
