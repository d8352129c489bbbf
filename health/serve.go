package health

import (
	"cmp"
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

// Limits of the server. A request fits into a few packets and an answer into a few hundred
// KiB, so the limits are tight: a client that is slower than this is broken or hostile.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second // longer than Prometheus' usual scrape_timeout of 10 s
	idleTimeout       = 35 * time.Second // longer than peers keep a connection, so that they close it first
	maxHeaderBytes    = 80 << 10         // /peerz?keys= may carry 67 KiB of keys

	// closeTimeout is how long requests in flight may take once ctx is done.
	closeTimeout = 2 * time.Second

	// maxConnAge bounds the age of a connection where certificates may change, so that
	// none outlives the certificates of its handshake for long.
	maxConnAge = time.Minute
)

// ListenAndServe serves [Handler] on addr, such as ":8080", until ctx is done. It then gives
// requests in flight up to 2 s and returns nil. With peers.tls it serves HTTPS.
//
// If it cannot listen, it returns an error that names the address; for a port in use,
// errors.Is(err, syscall.EADDRINUSE) is true. Callers that start it with go may ignore the
// error, because bal shows the condition health-port with the cause. A later call that
// succeeds clears it.
//
// ctx must outlive [rebalance.Balancer.Shutdown]. While the pod stops, the kubelet must be
// able to read that it is not ready, and its peers that it is stopping.
func ListenAndServe(ctx context.Context, addr string, bal *rebalance.Balancer, opts ...Option) error {
	return listenAndServe(ctx, addr, sourceOf(bal), newOptions(opts))
}

// Serve is [ListenAndServe] on a listener of yours, which it closes. Pods of one fleet serve
// on the same port. So bal polls its peers on the listener's port, or on that of [WithPort],
// unless peers.port is set.
func Serve(ctx context.Context, ln net.Listener, bal *rebalance.Balancer, opts ...Option) error {
	return serve(ctx, ln, ln.Addr().String(), sourceOf(bal), newOptions(opts))
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
		if port := cmp.Or(o.port, portIn(ctx, addr)); port != 0 {
			src.SetHealthPort(port) // the other pods serve on it, so this one can poll them
		}
		return failed(src, addr, err)
	}
	return serve(ctx, ln, addr, src, o)
}

// serve serves on ln; addr is what the condition health-port calls it.
func serve(ctx context.Context, ln net.Listener, addr string, src source, o options) error {
	srv, err := newServer(src, o)
	if err != nil {
		_ = ln.Close()
		src.HealthFailed(addr, err)
		return err
	}
	bound := &connBound{most: maxConns}
	bound.bound(srv)
	src.HealthFailed(addr, nil)
	if port := o.portOn(ln); port != 0 {
		src.SetHealthPort(port)
	}
	ended := make(chan error, 1)
	go func() { ended <- serveOn(srv, listener{ln, bound}) }()
	select {
	case err := <-ended:
		_ = srv.Close() // connections that are still open must not use half a server
		return failed(src, addr, err)
	case <-ctx.Done():
		shutdown(ctx, srv)
		<-ended //nolint:errcheck // http.ErrServerClosed: it was shut down
		return nil
	}
}

// portOn returns the port on which peers reach a server on ln, 0 if it is unknown.
func (o *options) portOn(ln net.Listener) int {
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok && o.port == 0 {
		return tcp.Port
	}
	return o.port
}

// portIn returns the port of an address, 0 if it is to be chosen.
func portIn(ctx context.Context, addr string) int {
	_, service, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return 0
	}
	return port
}

// failed shows the condition health-port, for callers that drop the returned error.
func failed(src source, addr string, err error) error {
	src.HealthFailed(addr, err)
	return fmt.Errorf("health: %w", err)
}

// newServer returns the server with its limits. It fails if an option is invalid.
func newServer(src source, o options) (*http.Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.tls != nil && !hasCertificate(o.tls) {
		return nil, errors.New("health: WithTLSConfig: no certificate in the tls.Config")
	}
	cfg := src.PeersTLS()
	if o.tls != nil && cfg != nil {
		return nil, errors.New("health: WithTLSConfig and peers.tls exclude each other: one port has one certificate, so remove one of the two")
	}
	srv := &http.Server{
		Handler:           newHandler(src, o),
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
		boundAge(srv)
	}
	return srv, nil
}

// acceptedKey is the key of the time at which a connection was accepted, in its context.
type acceptedKey struct{}

// boundAge closes each connection with the first answer after maxConnAge. That answer
// announces it, so no request is lost.
func boundAge(srv *http.Server) {
	srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, acceptedKey{}, time.Now())
	}
	next := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accepted, ok := r.Context().Value(acceptedKey{}).(time.Time); ok && time.Since(accepted) >= maxConnAge {
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

// shutdown gives requests in flight closeTimeout, then closes all connections.
func shutdown(ctx context.Context, srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		_ = srv.Close()
	}
}
