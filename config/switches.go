package config

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conf"
)

// Switches are the two settings that must work when nothing else does: the kill switch
// (rebalance.enabled: false) and the dry run (rebalance.dryRun: true). They are read on their
// own, from Layers.File and Layers.Switch, whatever else is wrong in these files. Environment
// and -set do not override them.
//
//	a value that cannot be understood    throws the switch: to move nothing is the safe side
//	no value, the file is valid YAML     does not throw it
//	no value, the file is not YAML       leaves it as it was
//	File cannot be read                  leaves it as it was
//	Switch does not exist                does not throw it
//	Switch cannot be read, or is broken  throws the kill switch
type Switches struct {
	// Off and DryRun name the file that throws the switch. Empty: none does.
	Off, DryRun string
}

// Over returns cfg with the thrown switches in force.
func (s Switches) Over(cfg Config) Config {
	cfg.Rebalance.Enabled = cfg.Rebalance.Enabled && s.Off == ""
	cfg.Rebalance.DryRun = cfg.Rebalance.DryRun || s.DryRun != ""
	return cfg
}

// ReadSwitches returns the switches that the files of layers throw now.
func ReadSwitches(layers Layers) Switches {
	w := newSwitchWatcher(layers)
	for _, f := range w.files {
		f.look(f.read())
	}
	return w.thrown()
}

// switchInterval is the time between two reads of a file for its switches. With confirmAfter,
// a switch is in force within 2 s.
const switchInterval = time.Second

// WatchSwitches calls changed, from its own goroutine, each time the files of layers throw
// other switches than current, until ctx is done. It then returns the error of ctx. It reads
// the files every second, and new content counts when two reads a quarter of a second apart
// agree. Without a file it only waits for ctx. [rebalance.Balancer.Run] and [rebalance.Balancer.WatchConfig] call it.
//
// [rebalance.Balancer.Run]: https://pkg.go.dev/github.com/evenkeel-go/evenkeel/rebalance#Balancer.Run
// [rebalance.Balancer.WatchConfig]: https://pkg.go.dev/github.com/evenkeel-go/evenkeel/rebalance#Balancer.WatchConfig
func WatchSwitches(ctx context.Context, layers Layers, current Switches, changed func(Switches)) error {
	w := newSwitchWatcher(layers)
	if len(w.files) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	w.keep(current)
	for wait := time.Duration(0); sleep(ctx, wait); wait = switchInterval {
		for _, f := range w.files {
			if r, ok := f.poll(ctx); ok {
				f.look(r)
			}
		}
		if next := w.thrown(); next != current && ctx.Err() == nil {
			current = next
			changed(next)
		}
	}
	return ctx.Err()
}

// switchWatcher is the state of one WatchSwitches.
type switchWatcher struct{ files []*switchFile }

// switchFile is a file that may throw switches.
type switchFile struct {
	watchedFile

	second bool // Layers.Switch
	last   Switches
}

func newSwitchWatcher(layers Layers) *switchWatcher {
	w := &switchWatcher{}
	add := func(name string, second bool) {
		if name != "" {
			w.files = append(w.files, &switchFile{watchedFile: watchedFile{name: name, interval: switchInterval}, second: second})
		}
	}
	add(layers.File, false)
	add(layers.switchFile(), true)
	return w
}

// switchFile returns the name of the second file, empty if there is none.
func (l *Layers) switchFile() string {
	if l.Switch != "" {
		return l.Switch
	}
	name := ""
	for _, pair := range l.environ() {
		if value, ok := strings.CutPrefix(pair, EnvSwitch+"="); ok {
			name = value // of equal names, the last one counts
		}
	}
	return name
}

// keep takes over what is thrown already, for a file that cannot be understood from the start.
func (w *switchWatcher) keep(current Switches) {
	for _, f := range w.files {
		if current.Off == f.name {
			f.last.Off = f.name
		}
		if current.DryRun == f.name {
			f.last.DryRun = f.name
		}
	}
}

// thrown returns the switches that any of the files throws.
func (w *switchWatcher) thrown() (s Switches) {
	for _, f := range slices.Backward(w.files) {
		if f.last.Off != "" {
			s.Off = f.last.Off
		}
		if f.last.DryRun != "" {
			s.DryRun = f.last.DryRun
		}
	}
	return s
}

// look takes the switches from new content.
func (f *switchFile) look(r reading) {
	missing := errors.Is(r.err, fs.ErrNotExist)
	switch {
	case f.second && missing:
		f.last = Switches{}
		return
	case f.second && r.err != nil:
		f.last.Off = f.name
		return
	}
	off, sureOff := f.thrown(r, "enabled", "true", "yes", "on", "y", "1")
	dry, sureDry := f.thrown(r, "dryRun", "false", "no", "off", "n", "0")
	if sureOff || off != "" {
		f.last.Off = off
	}
	if sureDry || dry != "" {
		f.last.DryRun = dry
	}
	if f.second && off == "" && !sureOff {
		f.last.Off = f.name
	}
}

// thrown returns the name of the file if it gives a key another value than the harmless ones.
// sure is false if the lack of such a value proves nothing.
func (f *switchFile) thrown(r reading, key string, harmless ...string) (name string, sure bool) {
	values, whole := conf.Glean(r.data, "rebalance", key)
	for _, v := range values {
		if !slices.Contains(harmless, strings.ToLower(strings.TrimSpace(v))) {
			name = f.name
		}
	}
	return name, r.err == nil && (whole || len(values) > 0)
}
