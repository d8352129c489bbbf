package kube

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/evenkeel-go/evenkeel/peers"
)

// pace holds the intervals and limits of a watcher.
type pace struct {
	first, longest time.Duration // pauses after failures: doubled from first to longest, and each randomly up to twice as long
	calm           time.Duration // time without a failure after which the pauses start over
	poll           time.Duration // between lists, where watching is forbidden
	renew          time.Duration // between reports, while the watch is open
	gap            time.Duration // shortest time between reports
	list           time.Duration // timeout of a list
	silent         time.Duration // time without an answer after which that is reported
	rate           rate.Limit    // requests a second in the long run, whatever the server answers
}

// defaultPace is the pace of production. A thousand pods that lost their API server send 42
// requests a second, together, after half a minute. All are back within 32 s of its return.
func defaultPace() pace {
	return pace{
		first: time.Second, longest: 16 * time.Second, calm: 2 * time.Minute, poll: 10 * time.Second,
		renew: 5 * time.Second, gap: 50 * time.Millisecond, list: 8 * time.Second, silent: 15 * time.Second, rate: 1,
	}
}

const (
	// requestBurst is the number of requests that need not wait for the rate.
	requestBurst = 5
	// maxPages bounds a list: 10,000 slices of up to 1,000 pods.
	maxPages = 20
	// maxSlices bounds the slices that a watch can add.
	maxSlices = 10_000
)

// watcher is the state of one Run. It is both the server and the store of a Reflector.
type watcher struct {
	src     *Source
	limiter *rate.Limiter
	changed chan struct{} // buffered by 1

	// listing is held during a list: the Reflector lists in a goroutine of its own, and
	// does not wait for it once the context ends.
	listing sync.Mutex

	// The goroutine that lists and watches owns these fields.
	client         *client
	pause          time.Duration
	failing        time.Time
	pages          int
	watchForbidden bool // the last watch was forbidden

	mu           sync.Mutex
	namespace    string
	slices       map[string]*slice
	members      []peers.Member // merged from slices; nil if slices have changed since
	unready      unready        // of slices, noted together with members
	synced       bool           // slices are complete
	fresh        bool           // slices were just listed
	open         bool           // a watch reports changes
	waitingSince time.Time      // when the request without an answer was sent; zero if there is none
	err          error
	warning      string

	logged string // owned by reportChanges: the state that was logged last
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

// run lists and watches until ctx is done.
func (w *watcher) run(ctx context.Context) {
	defer func() {
		w.listing.Lock()
		defer w.listing.Unlock()
		w.drop()
	}()
	r := cache.NewReflectorWithOptions(legacy{w}, &discovery.EndpointSlice{}, w, cache.ReflectorOptions{Name: "evenkeel"})
	for {
		w.watchForbidden = false
		_ = r.ListAndWatchWithContext(ctx) // recordFailure has the failures already
		if ctx.Err() != nil {
			return
		}
		if w.watchForbidden {
			sleep(ctx, w.src.pace.poll*4/5+jitter(w.src.pace.poll*2/5))
			continue
		}
		w.backOff(ctx)
	}
}

// backOff pauses after a failure.
func (w *watcher) backOff(ctx context.Context) {
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
