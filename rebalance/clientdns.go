package rebalance

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/lookup"
)

// clientDNS looks up the name that clients resolve. The configuration names it, or else the
// source does, as soon as it knows one.
type clientDNS struct {
	resolver lookup.Lookuper
	fixed    bool                        // the name is the configuration's
	gate     atomic.Pointer[lookup.Gate] // nil: there is no name, or none is known yet
	renamed  chan struct{}
}

// prepare takes the name from the configuration, if it has one.
func (d *clientDNS) prepare(cfg *config.Config) error {
	d.renamed = make(chan struct{}, 1)
	name, server := cfg.Clients.DNS.Name, cfg.Clients.DNS.Server
	if name == "" && cfg.Peers.Source == config.SourceDNS {
		name, server = lookup.Host(cfg.Peers.DNS.Name), cmp.Or(server, cfg.Peers.DNS.Server)
	}
	name = lookup.Complete(name, lookup.SystemResolvConf)
	resolver, err := lookup.New(server)
	if err != nil {
		return fmt.Errorf("rebalance: clients.dns.server: %w", err)
	}
	d.resolver, d.fixed = resolver, name != ""
	d.set(name)
	return nil
}

// learn takes the name that the source gives, empty if it knows none.
func (d *clientDNS) learn(name string) {
	if !d.fixed {
		d.set(name)
	}
}

// set starts with a closed gate if the name has changed.
func (d *clientDNS) set(name string) {
	old := d.gate.Load()
	if old == nil && name == "" || old != nil && old.Name() == name {
		return
	}
	var gate *lookup.Gate
	if name != "" {
		gate = lookup.NewGate(d.resolver, name)
	}
	d.gate.Store(gate)
	select {
	case d.renamed <- struct{}{}:
	default: // run has not taken up the one before yet, and finds this one then
	}
}

// run looks the name up while planning waits for pods, until ctx is done. It calls changed
// when the answer changes.
func (d *clientDNS) run(ctx context.Context, changed func()) {
	for ctx.Err() == nil {
		d.runOne(ctx, d.gate.Load(), changed)
	}
}

// runOne looks up one name, and returns when the name changes.
func (d *clientDNS) runOne(ctx context.Context, gate *lookup.Gate, changed func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	var news <-chan struct{}
	if gate == nil {
		close(done)
	} else {
		news = gate.Changed()
		go func() { defer close(done); gate.Run(ctx) }()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.renamed:
			changed()
			return
		case <-news:
			changed()
		}
	}
}
