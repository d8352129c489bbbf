package rebalance

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/evenkeel-go/evenkeel/config"
)

// WatchConfig watches layers.File and puts a changed configuration in force with Apply. It
// runs until ctx is done, and then returns ctx's error. layers must be those that the
// configuration was loaded with.
//
// A Balancer made by [Load] watches its file in Run and needs no other watch. For one made
// by [New], call WatchConfig once. Otherwise the file is read only once, and
// rebalance.enabled is no kill switch.
//
// A bad file changes nothing but the switches, see [config.Switches]. The condition "config"
// shows everything that is wrong with it until it is good again.
func (b *Balancer) WatchConfig(ctx context.Context, layers config.Layers) error {
	layers = tolerant(layers, b.showUnknown)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _ = b.watchSwitches(ctx, layers) }) // it ends with ctx alone
	b.mu.Lock()
	current := b.cfg
	b.mu.Unlock()
	return b.watch(ctx, layers, current)
}

// watch watches the file from what was loaded of it, so that what Apply has changed since then
// stays in force until the file changes.
func (b *Balancer) watch(ctx context.Context, layers config.Layers, current config.Config) error {
	return config.Watch(ctx, layers, current, func(cfg config.Config, err error) {
		if err == nil {
			err = b.Apply(cfg)
		}
		text := ""
		if err != nil {
			text = oneLine(err)
			b.opts.log.Warn("configuration", "error", text) // the condition is logged once, this with every content
		}
		b.conds.set(configInvalid, text)
	})
}

// watchSwitches watches the files for switches alone. It shares nothing with watch, so that
// nothing that is wrong there can disable the kill switch.
func (b *Balancer) watchSwitches(ctx context.Context, layers config.Layers) error {
	b.mu.Lock()
	current := b.switches
	b.mu.Unlock()
	return config.WatchSwitches(ctx, layers, current, b.setSwitches)
}

// setSwitches puts what the files throw in force at once.
func (b *Balancer) setSwitches(s config.Switches) {
	b.mu.Lock()
	before := b.switches
	b.switches = s
	b.mu.Unlock()
	b.noteSwitch(before.Off, s.Off, "rebalance.enabled is false in %s: rebalancing is off", "rebalancing is no longer off because of %s")
	b.noteSwitch(before.DryRun, s.DryRun, "rebalance.dryRun is true in %s: this is a dry run", "this is no longer a dry run because of %s")
	b.watchSwitched()
	b.poke()
}

func (b *Balancer) noteSwitch(before, now, thrown, ended string) {
	switch {
	case now == before:
	case now != "":
		b.decided("switched", 0, fmt.Sprintf(thrown, now))
	default:
		b.decided("switched", 0, fmt.Sprintf(ended, before))
	}
}

// watchSwitched shows the switches that are thrown, and where.
func (b *Balancer) watchSwitched() {
	b.mu.Lock()
	s, r := b.switches, b.cfg.Rebalance
	b.mu.Unlock()
	off := s.Off != "" || !r.Enabled
	b.conds.set(switchedOff, onlyIf(off, "no connection is moved: rebalance.enabled is false"+byFile(s.Off)))
	b.conds.set(dryRunning, onlyIf(!off && (s.DryRun != "" || r.DryRun), "connections that would be moved are only counted and shown: rebalance.dryRun is true"+byFile(s.DryRun)))
}

func byFile(name string) string {
	if name == "" {
		return " in the configuration"
	}
	return " in " + name
}

// oneLine returns the text of err, which may have several lines, as one line.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }
