package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
	"golang.org/x/time/rate"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// pace is how often things are done.
type pace struct {
	first, longest time.Duration // pauses after failures, doubled from first to longest; each up to twice as long by chance
	calm           time.Duration // without a failure for so long, the pauses begin anew
	poll           time.Duration // from list to list where watching is forbidden
	renew          time.Duration // from report to report while the watch is open
	gap            time.Duration // least time between reports
	list           time.Duration // for one list
	silent         time.Duration // without an answer for so long, that is told
	rate           rate.Limit    // requests a second in the long run, whatever the server answers
}

// A thousand pods that lost their API server knock 42 times a second, together,
// after half a minute, and are all back within 32 s of its return.
func defaultPace() pace {
	return pace{
		first: time.Second, longest: 16 * time.Second, calm: 2 * time.Minute, poll: 10 * time.Second,
		renew: 5 * time.Second, gap: 50 * time.Millisecond, list: 8 * time.Second, silent: 15 * time.Second, rate: 1,
	}
}

const (
	// requestBurst is how many requests may follow each other at once.
	requestBurst = 5
	// maxPages bounds a list: 10,000 slices of up to 1,000 pods.
	maxPages = 20
	// maxSlices bounds what a watch can add.
	maxSlices = 10_000
)

// watcher is what one Run knows. It is the Reflector's server and its store.
type watcher struct {
	src     *Source
	limiter *rate.Limiter
	changed chan struct{} // buffered by 1

	// listing is held while a list is asked for: the Reflector lists in a goroutine of
	// its own, and does not wait for it once the context ends.
	listing sync.Mutex

	// Of the goroutine that lists and watches, one after the other.
	client  *client
	pause   time.Duration
	failing time.Time
	pages   int
	barred  bool // the last watch was forbidden

	mu        sync.Mutex
	namespace string
	slices    map[string]*slice
	members   []peers.Member // of slices; nil: to be merged
	starting  int            // of slices, when members are
	synced    bool           // slices are whole
	fresh     bool           // they were just listed
	open      bool           // a watch tells of changes
	asking    time.Time      // of the request that has no answer yet
	err       error
	warning   string

	told string // of tell alone: what the log heard last
}

var (
	_ cache.ReflectorStore           = (*watcher)(nil)
	_ cache.ListerWatcherWithContext = (*watcher)(nil)
)

func newWatcher(s *Source) *watcher {
	return &watcher{
		src: s, limiter: rate.NewLimiter(s.pace.rate, requestBurst), changed: make(chan struct{}, 1), slices: map[string]*slice{},
	}
}

// run lists and watches, again and again.
func (w *watcher) run(ctx context.Context) {
	defer func() {
		w.listing.Lock()
		defer w.listing.Unlock()
		w.drop()
	}()
	r := cache.NewReflectorWithOptions(legacy{w}, &discovery.EndpointSlice{}, w, cache.ReflectorOptions{Name: "evenkeel"})
	for {
		w.barred = false
		_ = r.ListAndWatchWithContext(ctx) // failures were booked where they arose
		if ctx.Err() != nil {
			return
		}
		if w.barred {
			sleep(ctx, w.src.pace.poll*4/5+jitter(w.src.pace.poll*2/5))
			continue
		}
		w.rest(ctx)
	}
}

// rest pauses after a failure.
func (w *watcher) rest(ctx context.Context) {
	p := &w.src.pace
	if now := time.Now(); now.Sub(w.failing) > p.calm {
		w.pause = p.first
	}
	sleep(ctx, w.pause+jitter(w.pause))
	w.pause = min(2*w.pause, p.longest)
	w.failing = time.Now()
}

func jitter(d time.Duration) time.Duration { return time.Duration(rand.Float64() * float64(d)) }

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// request waits its turn and begins one.
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
	w.namespace, w.asking = ns, time.Now()
	w.mu.Unlock()
	opts.LabelSelector = discovery.LabelServiceName + "=" + w.src.opts.Service
	return w.client.Get().Namespace(ns).Resource("endpointslices").VersionedParams(opts, metav1.ParameterCodec), nil
}

// drop has the next request make a client of its own: the token, the certificates or
// the address may be new.
func (w *watcher) drop() {
	if w.client != nil {
		w.client.idle()
		w.client = nil
	}
}

// failed books why a request came to nothing, and hides from the Reflector what it
// would try again at its own pace.
func (w *watcher) failed(ctx context.Context, verb string, err error) error {
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
	w.asking = time.Time{}
	if w.barred = verb == verbWatch && apierrors.IsForbidden(err); w.barred {
		w.fresh = w.synced // as of a moment ago
		w.warning = "changes are seen late, by a list each " + w.src.pace.poll.String() + ": " + text
	} else {
		w.err = errors.New(text)
	}
	w.mu.Unlock()
	w.poke()
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
	err := fmt.Errorf("the list has more than %d pages", maxPages)
	if w.pages <= maxPages {
		err = w.listInto(timed, &opts, list)
	}
	if err != nil {
		return nil, w.failed(ctx, verbList, err)
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

// WatchWithContext opens a watch for the Reflector. While the API server cannot be
// reached it tries again itself: who comes back to a server that was away for a moment
// need not list.
func (w *watcher) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	for {
		in, err := w.openWatch(ctx, &opts)
		if err == nil {
			w.opened()
			return w.follow(in), nil
		}
		err = w.failed(ctx, verbWatch, err)
		if answered(err) || ctx.Err() != nil {
			return nil, err
		}
		w.rest(ctx)
	}
}

func (w *watcher) openWatch(ctx context.Context, opts *metav1.ListOptions) (watch.Interface, error) {
	opts.Watch = true
	req, err := w.request(ctx, opts)
	if err != nil {
		return nil, err
	}
	in, err := req.MaxRetries(0).Watch(ctx)
	if err == nil && w.client.trans.failed != nil {
		// client-go takes a connection that was closed or timed out for a watch without events.
		in.Stop()
		return nil, w.client.trans.failed
	}
	return in, err
}

func (w *watcher) opened() {
	w.mu.Lock()
	w.open, w.err, w.warning, w.asking = true, nil, "", time.Time{}
	w.mu.Unlock()
	w.poke()
}

// stream passes events on, and notes how they end.
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

// closed: from now on, changes would not be seen.
func (w *watcher) closed() {
	w.mu.Lock()
	w.open = false
	w.mu.Unlock()
}

// broken books an error within a watch. A version that expired is none: it is listed anew.
func (w *watcher) broken(obj runtime.Object) {
	err := apierrors.FromObject(obj)
	w.mu.Lock()
	w.open = false
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		w.err = errors.New("the watch broke: " + clip(err.Error()))
	}
	w.mu.Unlock()
	w.poke()
}

// legacy has what NewReflectorWithOptions asks for besides.
type legacy struct{ *watcher }

func (l legacy) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

func (l legacy) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}

// IsWatchListSemanticsUnSupported keeps to list and watch, which every server knows: two
// verbs, each of which can be missing and be named.
func (legacy) IsWatchListSemanticsUnSupported() bool { return true }

// Add is the store's.
func (w *watcher) Add(obj any) error {
	es, ok := obj.(*discovery.EndpointSlice)
	if !ok {
		return fmt.Errorf("not an EndpointSlice: %T", obj)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.slices) >= maxSlices && w.slices[es.Name] == nil {
		return fmt.Errorf("more than %d slices", maxSlices)
	}
	w.slices[es.Name], w.members = toSlice(es), nil
	w.poke()
	return nil
}

// Update is the store's.
func (w *watcher) Update(obj any) error { return w.Add(obj) }

// Delete is the store's.
func (w *watcher) Delete(obj any) error {
	es, ok := obj.(*discovery.EndpointSlice)
	if !ok {
		return fmt.Errorf("not an EndpointSlice: %T", obj)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.slices, es.Name)
	w.members = nil
	w.poke()
	return nil
}

// Replace is the store's: a whole list.
func (w *watcher) Replace(all []any, _ string) error {
	now := make(map[string]*slice, len(all))
	for _, obj := range all {
		es, ok := obj.(*discovery.EndpointSlice)
		if !ok {
			return fmt.Errorf("not an EndpointSlice: %T", obj)
		}
		now[es.Name] = toSlice(es)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slices, w.members = now, nil
	w.synced, w.fresh, w.err, w.asking = true, true, nil, time.Time{}
	w.poke()
	return nil
}

// Resync is the store's.
func (w *watcher) Resync() error { return nil }

func (w *watcher) poke() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// tell reports what changed, and renews what holds.
func (w *watcher) tell(ctx context.Context, report func(peers.Membership)) {
	tick := time.NewTicker(w.src.pace.renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		case <-tick.C:
		}
		if m, ok := w.view(); ok && ctx.Err() == nil {
			w.log(&m)
			report(m)
			sleep(ctx, w.src.pace.gap)
		}
	}
}

// view is what can be said now, if anything.
func (w *watcher) view() (peers.Membership, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	holds := w.synced && (w.open || w.fresh)
	w.fresh = false
	switch {
	case holds:
		return w.membershipLocked(), true
	case w.err != nil:
		return peers.Membership{Err: w.err}, true
	case !w.asking.IsZero() && time.Since(w.asking) > w.src.pace.silent:
		return peers.Membership{Err: errors.New("the API server takes the connection but does not answer")}, true
	}
	return peers.Membership{}, false
}

func (w *watcher) membershipLocked() peers.Membership {
	some := slices.Collect(maps.Values(w.slices))
	switch {
	case len(some) == 0:
		return peers.Membership{Err: fmt.Errorf("no EndpointSlice in namespace %q is labelled %s=%s: does the Service exist, "+
			"and do peers.kubernetes.service and peers.kubernetes.namespace name it?", w.namespace, discovery.LabelServiceName, w.src.opts.Service)}
	case !slices.ContainsFunc(some, func(s *slice) bool { return !s.fqdn }):
		return peers.Membership{Err: fmt.Errorf("all EndpointSlices of Service %q have addressType FQDN: names are not pods", w.src.opts.Service)}
	}
	if w.members == nil {
		pods := gather(w.slices)
		w.members, w.starting = listed(pods), starting(pods)
	}
	m := peers.Membership{Members: w.members, Starting: w.starting, Warning: w.warning}
	if slices.ContainsFunc(some, func(s *slice) bool { return s.headless }) {
		m.ClientName = w.src.clientName(w.namespace)
	}
	return m
}

// log writes one line for each change.
func (w *watcher) log(m *peers.Membership) {
	text := fmt.Sprintf("%d %v %s", len(m.Members), m.Err, m.Warning)
	if text == w.told {
		return
	}
	w.told = text
	log := w.src.opts.Logger.With("source", w.src.String())
	switch {
	case m.Err != nil:
		log.Warn("Kubernetes does not tell who serves", "error", m.Err)
	case m.Warning != "":
		log.Warn("Kubernetes tells who serves", "pods", len(m.Members), "warning", m.Warning)
	default:
		log.Info("Kubernetes tells who serves", "pods", len(m.Members))
	}
}
