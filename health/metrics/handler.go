package metrics

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// maxScrapes bounds the concurrent scrapes; further ones get 503. Two Prometheus servers
// and a person with curl fit, a runaway loop does not.
const maxScrapes = 8

// An Option changes what [Handler] serves.
type Option interface{ apply(*options) }

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

type options struct {
	registerer prometheus.Registerer
}

// WithRegisterer registers the metrics with reg, beside your own, and serves everything
// that reg gathers; [prometheus.DefaultRegisterer] is the usual one. If reg is not a
// [prometheus.Gatherer], such as the result of [prometheus.WrapRegistererWith], the handler
// serves evenkeel's metrics alone. Default, and nil: a new registry that also has the Go
// and process collectors.
func WithRegisterer(reg prometheus.Registerer) Option {
	return optionFunc(func(o *options) { o.registerer = reg })
}

// Handler serves the metrics of bal in the text formats of Prometheus and OpenMetrics. Pass
// it to health.WithMetrics, or mount it on a server of your own. A collector of yours that
// fails does not hide the metrics of the others. At most 8 scrapes are served at a time;
// further ones get 503.
//
// Handler panics if the registry of [WithRegisterer] refuses the metrics, for example
// because it already has those of another Balancer.
func Handler(bal *rebalance.Balancer, opts ...Option) http.Handler {
	h, err := newHandler(bal, opts)
	if err != nil {
		panic(err)
	}
	return h
}

func newHandler(src source, opts []Option) (http.Handler, error) {
	var o options
	for _, opt := range opts {
		opt.apply(&o)
	}
	g, err := o.gatherer(src)
	if err != nil {
		return nil, err
	}
	// A partial scrape is more use than none, so a failing collector does not end it.
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
	}), nil
}

// gatherer returns what the handler serves.
func (o *options) gatherer(src source) (prometheus.Gatherer, error) {
	c := newCollector(src)
	if o.registerer == nil {
		return ownRegistry(c,
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if err := registerOnce(o.registerer, c); err != nil {
		return nil, fmt.Errorf("metrics: cannot register the metrics of the Balancer: %w", err)
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

// registerOnce accepts a Balancer that is already registered, since the user may have done
// so with Collector. A second Balancer is an error: without labels of its own its metrics
// would collide with those of the first.
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
