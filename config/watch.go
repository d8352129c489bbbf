package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conf"
)

const (
	// watchInterval is the time between two reads of the file. The kubelet takes up to two
	// minutes to update a mounted ConfigMap, so another 5 s make no difference.
	watchInterval = 5 * time.Second
	// confirmAfter is the time between the two reads that must agree before new content
	// counts. A file that is written in place is empty for a moment, and an empty file is
	// valid.
	confirmAfter = 250 * time.Millisecond
)

// Watch loads the configuration again each time layers.File changes, until ctx is done. It
// then returns the error of ctx. current is the configuration in force, as [Load] returned
// it for the same layers; Watch finds a change since then at once. [rebalance.Balancer.Run]
// and [rebalance.Balancer.WatchConfig] call it.
//
// Watch calls apply from its own goroutine:
//
//   - after a change, with the new configuration and nil. The environment and -set override
//     the file, so a change of a key that they set is not reported;
//   - once per content of a file that is invalid or cannot be read, with the last good
//     configuration and an error. Keep the configuration in force and show the error;
//   - once the file is good again, with its configuration and nil.
//
// Watch reads the file every 5 s and compares its content. A mounted ConfigMap changes by
// the swap of a symbolic link two levels up, which file notifications do not report
// reliably. Without a file Watch only waits for ctx.
//
// [rebalance.Balancer.Run]: https://pkg.go.dev/github.com/evenkeel-go/evenkeel/rebalance#Balancer.Run
// [rebalance.Balancer.WatchConfig]: https://pkg.go.dev/github.com/evenkeel-go/evenkeel/rebalance#Balancer.WatchConfig
func Watch(ctx context.Context, layers Layers, current Config, apply func(Config, error)) error {
	w := &watcher{watchedFile: watchedFile{name: layers.File, interval: watchInterval}, layers: layers, current: current}
	return w.run(ctx, apply)
}

// watcher is the state of one Watch.
type watcher struct {
	watchedFile

	layers  Layers
	current Config
	failed  bool
}

func (w *watcher) run(ctx context.Context, apply func(Config, error)) error {
	if w.layers.File == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	for wait := time.Duration(0); sleep(ctx, wait); wait = w.interval {
		if r, ok := w.poll(ctx); ok {
			w.load(r, apply)
		}
	}
	return ctx.Err()
}

// watchedFile is a file whose content is compared again and again.
type watchedFile struct {
	name     string
	interval time.Duration
	seen     digest
}

// digest is the part of a reading that is compared.
type digest struct {
	sum [sha256.Size]byte
	err string
}

// reading is the result of reading a file.
type reading struct {
	data []byte
	err  error
}

func (f *watchedFile) read() reading {
	data, err := conf.ReadFile(f.name)
	return reading{data, err}
}

func (r reading) digest() digest {
	if r.err != nil {
		return digest{err: r.err.Error()}
	}
	return digest{sum: sha256.Sum256(r.data)}
}

// poll reads the file twice. It returns false if the content is not new, or differs between
// the reads because the file is being written: the next poll will see the result.
func (f *watchedFile) poll(ctx context.Context) (reading, bool) {
	first := f.read().digest()
	if first == f.seen || !sleep(ctx, min(confirmAfter, f.interval)) {
		return reading{}, false
	}
	second := f.read()
	if second.digest() != first {
		return reading{}, false
	}
	f.seen = first
	return second, true
}

// load loads new content, and calls apply if the result is news.
func (w *watcher) load(r reading, apply func(Config, error)) {
	next, err := loadFrom(w.layers, r.data, r.err)
	if err != nil {
		w.failed = true
		apply(w.current, fmt.Errorf("the configuration file cannot be used; the last good configuration stays in force: %w", err))
		return
	}
	// Only a comment has changed, or a key that the environment or -set overrides.
	if !w.failed && len(ChangedKeys(w.current, next)) == 0 {
		return
	}
	w.current, w.failed = next, false
	apply(next, nil)
}

// sleep waits for d. It returns false if ctx ends first.
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
