package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conf"
)

const (
	// watchInterval is the time between two looks at the file. The kubelet takes up to
	// two minutes to bring a changed ConfigMap into a pod, so nobody notices 5 s more.
	watchInterval = 5 * time.Second
	// confirmAfter is the time between the two looks that must agree before new
	// content counts. A file that is written in place is empty for a moment, and an
	// empty file is a valid one.
	confirmAfter = 250 * time.Millisecond
)

// Watch loads the configuration again each time layers.File changes, until ctx is done,
// and returns ctx's error then. current is the configuration in force, as [Load]
// returned it for the same layers; a change that was made since then is found at once.
// [rebalance.Balancer.Run] and [rebalance.Balancer.WatchConfig] call it.
//
// Watch calls apply from its own goroutine:
//
//   - with the new configuration and nil after a change. The environment and -set stay on
//     top of the file, so a change that they cover is not reported;
//   - with the last good configuration and an error once the file is wrong or unreadable,
//     once for each content. Keep what is in force and show the error;
//   - with the configuration in force and nil once the file is good again.
//
// The file is looked at every 5 s. Its content is compared, since a mounted ConfigMap
// changes when a symbolic link two levels up is swapped, which file notifications
// do not report reliably. Without a file Watch only waits for ctx.
//
// [rebalance.Balancer.Run]: https://pkg.go.dev/github.com/evenkeel-go/evenkeel/rebalance#Balancer.Run
// [rebalance.Balancer.WatchConfig]: https://pkg.go.dev/github.com/evenkeel-go/evenkeel/rebalance#Balancer.WatchConfig
func Watch(ctx context.Context, layers Layers, current Config, apply func(Config, error)) error {
	w := &watcher{layers: layers, interval: watchInterval, current: current}
	return w.run(ctx, apply)
}

// watcher is one Watch.
type watcher struct {
	layers   Layers
	interval time.Duration
	current  Config
	seen     glance
	failed   bool
}

// glance is one look at the file, reduced to what can be compared.
type glance struct {
	sum [sha256.Size]byte
	err string
}

func (w *watcher) run(ctx context.Context, apply func(Config, error)) error {
	if w.layers.File == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	for wait := time.Duration(0); sleep(ctx, wait); wait = w.interval {
		if r, ok := w.look(ctx); ok {
			w.take(r, apply)
		}
	}
	return ctx.Err()
}

// reading is what reading the file came to.
type reading struct {
	data []byte
	err  error
}

func (w *watcher) read() reading {
	data, err := conf.ReadFile(w.layers.File)
	return reading{data, err}
}

func (r reading) glance() glance {
	if r.err != nil {
		return glance{err: r.err.Error()}
	}
	return glance{sum: sha256.Sum256(r.data)}
}

// look reads the file. It returns false if there is nothing new, or the file is
// being written at this moment: then the next look will tell.
func (w *watcher) look(ctx context.Context) (reading, bool) {
	first := w.read().glance()
	if first == w.seen || !sleep(ctx, min(confirmAfter, w.interval)) {
		return reading{}, false
	}
	second := w.read()
	if second.glance() != first {
		return reading{}, false
	}
	w.seen = first
	return second, true
}

// take judges new content and calls apply where there is something to say.
func (w *watcher) take(r reading, apply func(Config, error)) {
	next, err := loadFrom(w.layers, r.data, r.err)
	if err != nil {
		w.failed = true
		apply(w.current, fmt.Errorf("configuration kept, the changed file is not usable: %w", err))
		return
	}
	// A comment, or a key that -set covers: nothing to apply.
	if !w.failed && len(ChangedKeys(w.current, next)) == 0 {
		return
	}
	w.current, w.failed = next, false
	apply(next, nil)
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
