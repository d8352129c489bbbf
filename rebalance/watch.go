package rebalance

import (
	"context"
	"strings"

	"github.com/evenkeel-go/evenkeel/config"
)

// WatchConfig watches opts.File and puts a changed configuration in force with Apply, until ctx
// is done; it returns ctx's error then. Look at it as the second half of config.Load, of which
// opts must be the same: without it a file is read once, and rebalance.enabled is no kill
// switch. A bad file changes nothing and shows as the condition "config", with all that is
// wrong in it, until it is good again. It must not run twice for one Balancer.
func (b *Balancer) WatchConfig(ctx context.Context, opts config.Layers) error {
	return config.Watch(ctx, opts, b.Config(), func(cfg config.Config, err error) {
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
