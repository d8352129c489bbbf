package health

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// An Option changes how [Handler], [Serve] and [ListenAndServe] behave.
type Option interface{ apply(*options) }

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

type options struct {
	metrics http.Handler
	port    int // 0: that of the listener
	tls     *tls.Config
	hosts   []string // in lower case
	logger  *slog.Logger
	checks  []check
}

// check is a check of the program's own, of [WithCheck].
type check struct {
	name string
	run  func() error
}

func newOptions(opts []Option) options {
	o := options{metrics: http.HandlerFunc(noMetrics), logger: slog.Default()}
	for _, opt := range opts {
		opt.apply(&o)
	}
	return o
}

func (o *options) validate() error {
	if o.port < 0 || o.port > 65535 {
		return fmt.Errorf("health: WithPort: %d is not a port, want 1 to 65535", o.port)
	}
	for _, c := range o.checks {
		if c.name == "" || c.run == nil {
			return errors.New("health: WithCheck: the name is empty or the function is nil")
		}
	}
	return nil
}

// WithMetrics serves h at /metrics, with the security headers of the other paths. Package
// github.com/evenkeel-go/evenkeel/health/metrics, a module of its own, has the handler for
// Prometheus:
//
//	health.WithMetrics(metrics.Handler(bal))
//
// Default, and nil: /metrics answers 501 Not Implemented.
func WithMetrics(h http.Handler) Option {
	return optionFunc(func(o *options) {
		if h != nil {
			o.metrics = h
		}
	})
}

// WithPort declares the port, from 1 to 65535, on which the other pods reach this endpoint.
// A pod polls its peers on the port that it has itself, unless peers.port is set. [Handler]
// needs the option because it does not know the port of your server. [Serve] and
// [ListenAndServe] take the port of their listener by default; use the option there only if
// a port mapping stands in between. Default, and 0: unknown for Handler.
func WithPort(port int) Option {
	return optionFunc(func(o *options) { o.port = port })
}

// WithHosts allows requests whose Host header is one of names, such as the host name of an
// Ingress. Each name is without a port, and stands for itself alone, not for names below it. "*"
// allows every name. Default: none.
//
// Some hosts are always allowed: IP addresses, names without a dot such as localhost, and names that
// end with .localhost, .local, .internal, .svc, .test or .home.arpa, which nobody outside can point
// at an address of their choice. A request under any other name gets 403, since an attacker may have
// pointed it at this pod (DNS rebinding). /livez and /readyz without a query always answer.
func WithHosts(names ...string) Option {
	return optionFunc(func(o *options) {
		for _, name := range names {
			o.hosts = append(o.hosts, strings.ToLower(strings.TrimSuffix(name, ".")))
		}
	})
}

// WithTLSConfig serves HTTPS with cfg. It must hold a certificate or one of its functions
// that return one; GetCertificate lets you renew certificates without a restart. [Handler]
// ignores the option. Default, and nil: plain HTTP.
//
// With peers.tls the endpoint already serves HTTPS, and this option is an error. Without
// peers.tls the other pods use plain HTTP for /peerz and cannot reach it here. Serve them
// [Handler] on another port and set peers.port to it, or no connection is moved for evenness.
//
// A kubelet's probe verifies nothing and has no certificate to show. If cfg has ClientCAs,
// use [tls.VerifyClientCertIfGiven], or serve /livez and /readyz on another port.
func WithTLSConfig(cfg *tls.Config) Option {
	return optionFunc(func(o *options) { o.tls = cfg })
}

// WithLogger sets the logger for errors of the HTTP server, such as failed TLS handshakes
// and panics. Default, and nil: [slog.Default]. Use slog.New(slog.DiscardHandler) for
// silence.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(o *options) {
		if l != nil {
			o.logger = l
		}
	})
}

// WithCheck adds a check of the program's own to /readyz. While run returns an error, /readyz
// answers 503, with a line of the name and the error. So the pod leaves its
// Service, and evenkeel drains its clients as it does for any pod that is out of the Service.
// /livez does not depend on it.
//
// run is called with each request of /readyz, from any goroutine, and must not block. The
// option may be given several times. An empty name or a nil function is an error. Default: no
// check.
func WithCheck(name string, run func() error) Option {
	return optionFunc(func(o *options) { o.checks = append(o.checks, check{name, run}) })
}
