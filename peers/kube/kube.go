package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// Options say what to watch. Only Service is required.
type Options struct {
	// Namespace of the Service. Empty: the pod's own, which is that of its service
	// account, else $POD_NAMESPACE, else that of the kubeconfig's context.
	Namespace string
	// Service is the name of the Service whose EndpointSlices are watched.
	Service string
	// Kubeconfig is the name of a file that tells how to reach the API server. Empty: as
	// the pod's service account. If it has the credentials fetched by a program (exec),
	// Run cannot end while that runs.
	Kubeconfig string
	// Logger is told when what is known changes or cannot be known, once for each
	// change. Nil: silent.
	Logger *slog.Logger
}

// Source reports the pods of a Service.
type Source struct {
	opts Options
	env  env
	pace pace
}

var _ peers.Source = (*Source)(nil)

// New returns a Source. It reads the kubeconfig, if one is given, and fails if that
// cannot be used. Whatever else is missing is told by Run, and may come later: the
// service account's token, the API server, the Role, the Service.
func New(opts Options) (*Source, error) {
	if opts.Service == "" {
		return nil, errors.New("kubernetes peers: no Service is named (peers.kubernetes.service)")
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

// String names the source for people.
func (s *Source) String() string {
	if ns, err := s.namespace(); err == nil {
		return "kubernetes " + ns + "/" + s.opts.Service
	}
	return "kubernetes " + s.opts.Service
}

// Run lists and watches until ctx is done, and returns its error then. It reports each
// change at once, and renews the view every few seconds for as long as the watch is
// open. It must not run twice at a time.
func (s *Source) Run(ctx context.Context, report func(peers.Membership)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	w := newWatcher(s)
	// client-go speaks through the logger in its context, and by default to stderr.
	wg.Go(func() { w.run(klog.NewContext(ctx, logr.Discard())) })
	w.tell(ctx, report)
	return ctx.Err()
}
