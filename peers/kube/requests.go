package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// request waits for the rate limit and prepares a request.
func (w *watcher) request(ctx context.Context, opts *metav1.ListOptions) (*rest.Request, error) {
	if err := w.limiter.Wait(ctx); err != nil {
		return nil, err
	}
	ns, err := w.src.namespace()
	if err != nil {
		return nil, err
	}
	if w.client == nil {
		if w.client, err = w.src.connect(); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	w.namespace, w.waitingSince = ns, time.Now()
	w.mu.Unlock()
	opts.LabelSelector = discovery.LabelServiceName + "=" + w.src.opts.Service
	return w.client.Get().Namespace(ns).Resource("endpointslices").VersionedParams(opts, metav1.ParameterCodec), nil
}

// drop makes the next request create a new client, since the token, the certificates or the
// address may have changed.
func (w *watcher) drop() {
	if w.client != nil {
		w.client.idle()
		w.client = nil
	}
}

// recordFailure records why a request failed. It hides errors from the Reflector that it
// would retry at its own pace.
func (w *watcher) recordFailure(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !answered(err) || apierrors.IsUnauthorized(err) {
		defer w.drop()
	}
	where := ""
	if w.client != nil {
		where = w.client.Get().URL().Host
	}
	w.mu.Lock()
	text := explain(err, verb, where, w.namespace)
	w.waitingSince = time.Time{}
	if w.watchForbidden = verb == verbWatch && apierrors.IsForbidden(err); w.watchForbidden {
		w.fresh = w.synced // as of a moment ago
		w.warning = "changes are seen late, by a list every " + w.src.pace.poll.String() + ": " + text
	} else {
		w.err = errors.New(text)
	}
	w.mu.Unlock()
	w.notify()
	if answered(err) {
		return err
	}
	return errors.New(text)
}

const verbList, verbWatch = "list", "watch"

// ListWithContext lists one page for the Reflector.
func (w *watcher) ListWithContext(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	w.listing.Lock()
	defer w.listing.Unlock()
	timed, cancel := context.WithTimeout(ctx, w.src.pace.list)
	defer cancel()
	if w.pages++; opts.Continue == "" {
		w.pages = 1
	}
	list := &discovery.EndpointSliceList{}
	err := fmt.Errorf("the list of EndpointSlices has more than %d pages", maxPages)
	if w.pages <= maxPages {
		err = w.listInto(timed, &opts, list)
	}
	if err != nil {
		return nil, w.recordFailure(ctx, verbList, err)
	}
	return list, nil
}

func (w *watcher) listInto(ctx context.Context, opts *metav1.ListOptions, list *discovery.EndpointSliceList) error {
	req, err := w.request(ctx, opts)
	if err != nil {
		return err
	}
	return req.MaxRetries(0).Do(ctx).Into(list)
}

// WatchWithContext opens a watch for the Reflector. It retries while the API server cannot
// be reached. After a short outage of the server no list is needed then.
func (w *watcher) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	for {
		in, err := w.openWatch(ctx, &opts)
		if err == nil {
			w.opened()
			return w.follow(in), nil
		}
		err = w.recordFailure(ctx, verbWatch, err)
		if answered(err) || ctx.Err() != nil {
			return nil, err
		}
		w.backOff(ctx)
	}
}

func (w *watcher) openWatch(ctx context.Context, opts *metav1.ListOptions) (watch.Interface, error) {
	opts.Watch = true
	req, err := w.request(ctx, opts)
	if err != nil {
		return nil, err
	}
	in, err := req.MaxRetries(0).Watch(ctx)
	if err == nil && w.client.trans.lastErr != nil {
		// client-go takes a closed or timed-out connection for a watch without events.
		in.Stop()
		return nil, w.client.trans.lastErr
	}
	return in, err
}

func (w *watcher) opened() {
	w.mu.Lock()
	w.open, w.err, w.warning, w.waitingSince = true, nil, "", time.Time{}
	w.mu.Unlock()
	w.notify()
}

// stream passes the events of a watch on, and notices its end.
type stream struct {
	watch.Interface

	out  chan watch.Event
	stop func()
}

func (s *stream) ResultChan() <-chan watch.Event { return s.out }
func (s *stream) Stop()                          { s.stop() }

func (w *watcher) follow(in watch.Interface) watch.Interface {
	quit, done := make(chan struct{}), make(chan struct{})
	s := &stream{Interface: in, out: make(chan watch.Event)}
	s.stop = sync.OnceFunc(func() {
		close(quit)
		in.Stop()
		<-done
		w.closed()
	})
	go func() {
		defer close(done)
		defer close(s.out)
		for e := range in.ResultChan() {
			if e.Type == watch.Error {
				w.broken(e.Object)
			}
			select {
			case s.out <- e:
			case <-quit:
				return
			}
		}
	}()
	return s
}

// closed notes that changes are no longer seen.
func (w *watcher) closed() {
	w.mu.Lock()
	w.open = false
	w.mu.Unlock()
}

// broken records an error within a watch. An expired version is not an error, since the
// Reflector lists again.
func (w *watcher) broken(obj runtime.Object) {
	err := apierrors.FromObject(obj)
	w.mu.Lock()
	w.open = false
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		w.err = errors.New("the watch on EndpointSlices broke: " + clip(err.Error()))
	}
	w.mu.Unlock()
	w.notify()
}

// legacy adds the methods without a context that NewReflectorWithOptions requires.
type legacy struct{ *watcher }

func (l legacy) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

func (l legacy) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}

// IsWatchListSemanticsUnSupported restricts the Reflector to list and watch, which every
// server supports. Each of these verbs can be missing in a Role, and errors name it.
func (legacy) IsWatchListSemanticsUnSupported() bool { return true }
