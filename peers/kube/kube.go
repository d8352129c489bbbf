package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/evenkeel-go/evenkeel/peers"
)

// Options configure a Source. Only Service is required.
type Options struct {
	// Namespace is the namespace of the Service. Default empty: that of the pod's service
	// account, else $POD_NAMESPACE, else that of the kubeconfig's context.
	Namespace string
	// Service is the name of the Service whose EndpointSlices are watched. Required.
	Service string
	// Kubeconfig is the name of a kubeconfig file for access to the API server. Default
	// empty: the pod's service account. If the kubeconfig gets credentials from a program
	// (exec), Run cannot return while that program runs.
	Kubeconfig string
	// Logger logs each change of the view or of the reason why there is none, once. Default
	// nil: silent.
	Logger *slog.Logger
}

// Source reports the pods of a Service. Create it with New; the zero value is not valid.
type Source struct {
	opts Options
	env  env
	pace pace
}

var _ peers.Source = (*Source)(nil)

// New returns a Source. It fails without a Service, and if Options.Kubeconfig is set and
// cannot be used: correct the options then.
//
// Whatever else is missing may come later, and Run reports it by Membership.Err: the token
// of the service account, the API server, the Role, the Service.
func New(opts Options) (*Source, error) {
	if opts.Service == "" {
		return nil, errors.New("kubernetes peers: no Service is named, set peers.kubernetes.service")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{opts: opts, env: podEnv(), pace: defaultPace()}
	if opts.Kubeconfig != "" {
		if _, err := s.config(); err != nil {
			return nil, fmt.Errorf("kubernetes peers: %w", err)
		}
	}
	return s, nil
}

// String names the source for people, such as "kubernetes shop/hello".
func (s *Source) String() string {
	if ns, err := s.namespace(); err == nil {
		return "kubernetes " + ns + "/" + s.opts.Service
	}
	return "kubernetes " + s.opts.Service
}

// Run lists and watches until ctx is done, and then returns the error of ctx. It reports each
// change at once, and renews the view every few seconds while the watch is open. It retries
// all failures and reports them by Membership.Err. Only one Run may be active at a time.
func (s *Source) Run(ctx context.Context, report func(peers.Membership)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	w := newWatcher(s)
	// client-go logs through the logger in its context, and by default to stderr.
	wg.Go(func() { w.run(klog.NewContext(ctx, logr.Discard())) })
	w.reportChanges(ctx, report)
	return ctx.Err()
}
