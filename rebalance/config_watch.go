package rebalance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conf"
)

// DefaultWatchInterval is how often a Watcher looks at its file. The kubelet
// takes up to a minute or two to bring a changed ConfigMap into a pod, so that a
// few seconds more are not noticed.
const DefaultWatchInterval = 5 * time.Second

const (
	minWatchInterval = 10 * time.Millisecond
	// confirmAfter is the time between the two looks that must agree before new
	// content counts. A file that is written in place is empty for a moment, and an
	// empty file is a valid one.
	confirmAfter = 250 * time.Millisecond
)

// Watcher loads a configuration again whenever its file changes; Balancer.WatchConfig is
// what most programs want of it. It polls the
// content: a mounted ConfigMap changes by the swap of a symbolic link two levels
// up, of which notifications on the file say nothing reliable.
type Watcher struct {
	opts     LoadOptions
	interval time.Duration
	current  Config
	seen     glance
	failed   bool
}

// WatchConfig watches opts.File and puts a changed configuration in force with Apply, until ctx
// is done; it returns ctx's error then. Look at it as the second half of LoadConfig, of which
// opts must be the same: without it a file is read once, and rebalance.enabled is no kill
// switch. A bad file changes nothing and shows as the condition "config", with all that is
// wrong in it, until it is good again. It must not run twice for one Balancer.
func (b *Balancer) WatchConfig(ctx context.Context, opts LoadOptions) error {
	return NewWatcher(opts, b.Config(), 0).Run(ctx, func(cfg Config, err error) {
		if err == nil {
			err = b.Apply(cfg)
		}
		text := ""
		if err != nil {
			text = oneLine(err)
			b.opts.log.Warn("configuration", "error", text) // the condition is logged once, this with each content
		}
		b.SetCondition("config", Warning, text)
	})
}

// oneLine is err, which may be of several lines, for a condition and the log.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }

// glance is one look at the file, reduced to what can be compared.
type glance struct {
	sum [sha256.Size]byte
	err string
}

// NewWatcher returns a Watcher of opts.File. current is the configuration in
// force, as LoadConfig made it of the same opts; should the file have changed
// since, Run notices at once. interval is the time between two looks: 0 or less
// means DefaultWatchInterval; least 10ms. Nothing runs before Run.
func NewWatcher(opts LoadOptions, current Config, interval time.Duration) *Watcher {
	if interval <= 0 {
		interval = DefaultWatchInterval
	}
	return &Watcher{opts: opts, current: current, interval: max(interval, minWatchInterval)}
}

// Run watches until ctx is done and returns its error then. It calls apply, from
// this goroutine only,
//
//   - with a changed configuration and nil. The environment and -set stay on top of
//     the file, so that a change they cover is none;
//   - with the last good configuration and an error if the file has become wrong or
//     unreadable, once for each content: keep what is in force and show the error;
//   - with the configuration in force and nil once the file is good again.
//
// Without a file it only waits. Run must not be called twice.
func (w *Watcher) Run(ctx context.Context, apply func(Config, error)) error {
	if w.opts.File == "" {
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

func (w *Watcher) read() reading {
	data, err := conf.ReadFile(w.opts.File)
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
func (w *Watcher) look(ctx context.Context) (reading, bool) {
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
func (w *Watcher) take(r reading, apply func(Config, error)) {
	next, err := loadFrom(w.opts, r.data, r.err)
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
