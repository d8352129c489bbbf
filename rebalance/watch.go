package rebalance

import (
	"context"
	"strings"

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
// A bad file changes nothing. The condition "config" shows everything that is wrong with it
// until it is good again.
func (b *Balancer) WatchConfig(ctx context.Context, layers config.Layers) error {
	return b.watch(ctx, layers, b.Config())
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

// oneLine returns the text of err, which may have several lines, as one line.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }
