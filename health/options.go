package health

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// An Option changes how [Handler], [Serve] and [ListenAndServe] behave.
type Option interface{ apply(*options) }

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

type options struct {
	registerer prometheus.Registerer
	tls        *tls.Config
	logger     *slog.Logger
}

func newOptions(opts []Option) options {
	o := options{logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt.apply(&o)
	}
	return o
}

// WithRegisterer registers the metrics with reg, beside those of your own, and
// lets /metrics show all that reg knows; [prometheus.DefaultRegisterer] is the
// usual one. If reg is no [prometheus.Gatherer], as with
// [prometheus.WrapRegistererWith], /metrics shows evenkeel's metrics alone.
// Default, and nil: a registry of its own with the Go and process collectors.
func WithRegisterer(reg prometheus.Registerer) Option {
	return optionFunc(func(o *options) { o.registerer = reg })
}

// WithTLSConfig serves HTTPS with cfg, which must hold a certificate or one of
// its functions that get one (GetCertificate lets certificates be renewed
// without a restart). [Handler] ignores it. Default, and nil: plain HTTP.
//
// With peers.tls the endpoint serves HTTPS by itself, and this option is an error. Without
// it the other pods ask /peerz over plain HTTP, and cannot ask here: serve them [Handler] on
// another port, which peers.port names, or nothing is moved for evenness.
//
// A kubelet's probe verifies nothing and has no certificate to show: with
// ClientCAs use [tls.VerifyClientCertIfGiven], or give /livez and /readyz another
// way in.
func WithTLSConfig(cfg *tls.Config) Option {
	return optionFunc(func(o *options) { o.tls = cfg })
}

// WithLogger sets where errors of the HTTP server go: failed TLS handshakes,
// panics. Default, and nil: nowhere.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(o *options) {
		if l != nil {
			o.logger = l
		}
	})
}

// gatherer returns what /metrics shows.
func (o *options) gatherer(src source) (prometheus.Gatherer, error) {
	c := newCollector(src)
	if o.registerer == nil {
		return ownRegistry(c,
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if err := registerOnce(o.registerer, c); err != nil {
		return nil, fmt.Errorf("health: registering the metrics: %w", err)
	}
	if g, ok := o.registerer.(prometheus.Gatherer); ok {
		return g, nil
	}
	return ownRegistry(c)
}

func ownRegistry(cs ...prometheus.Collector) (prometheus.Gatherer, error) {
	reg := prometheus.NewRegistry()
	for _, c := range cs {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// registerOnce lets the same Balancer be registered again, since its user may
// have done so with Collector; a second Balancer would need labels to be told
// from the first, and is an error.
func registerOnce(reg prometheus.Registerer, c *collector) error {
	err := reg.Register(c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if old, ok := there.ExistingCollector.(*collector); ok && old.src == c.src {
			return nil
		}
	}
	return err
}
