package rebalance

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/peers/dns"
	"github.com/evenkeel-go/evenkeel/peers/static"
)

// SourceFunc makes the source of peers that a configuration describes. It may keep log.
// [Load] returns its errors.
type SourceFunc = func(cfg config.Config, log *slog.Logger) (peers.Source, error)

// Load loads the configuration, makes the source that peers.source names and returns a
// Balancer with both, whose Run also watches layers.File and layers.Switch:
//
//	bal, err := rebalance.Load(config.Layers{File: "evenkeel.yaml"})
//
// Load can make the sources none, static and dns. The source for Kubernetes is a module of
// its own, so that only its users depend on client-go. Pass it as an option:
//
//	rebalance.WithSource(config.SourceKubernetes, kube.FromConfig)
//
// Keys that do not exist show the condition "unknown-keys" and change nothing else, so that a
// pod starts with the file of another version. With layers.Strict they are errors.
//
// [WithPeers] among opts replaces the source that the configuration names. The errors are
// those of config.Load, of the source and of [New].
func Load(layers config.Layers, opts ...Option) (*Balancer, error) {
	var unknown error
	cfg, err := config.Load(tolerant(layers, func(err error) { unknown = err }))
	if err != nil {
		return nil, err
	}
	o := newOptions(opts)
	if !o.hasSource {
		source, err := o.makeSource(cfg)
		if err != nil {
			return nil, err
		}
		opts = append(slices.Clip(opts), WithPeers(source))
	}
	b, err := New(cfg, opts...)
	if err != nil {
		return nil, err
	}
	b.loaded = &loaded{tolerant(layers, b.showUnknown), cfg}
	b.showUnknown(unknown)
	b.setSwitches(config.ReadSwitches(layers))
	return b, nil
}

// tolerant returns layers in which keys that do not exist are no errors, unless the caller has
// decided that.
func tolerant(layers config.Layers, unknown func(error)) config.Layers {
	if !layers.Strict && layers.Unknown == nil {
		layers.Unknown = unknown
	}
	return layers
}

// showUnknown shows the keys that do not exist, until there are none.
func (b *Balancer) showUnknown(err error) {
	text := ""
	if err != nil {
		text = "the configuration has keys that this version does not know, and ignores them: " + oneLine(err)
	}
	b.conds.set(unknownKeys, text)
}

// loaded is what Load has read, and from where.
type loaded struct {
	layers config.Layers
	cfg    config.Config
}

// makeSource returns nil for the source "none".
func (o *options) makeSource(cfg config.Config) (peers.Source, error) {
	name := cfg.Peers.Source
	if f := o.sources[name]; f != nil {
		return f(cfg, o.log)
	}
	switch name {
	case config.SourceNone:
		return nil, nil //nolint:nilnil // there is none
	case config.SourceStatic:
		return static.New(cfg.Peers.Static)
	case config.SourceDNS:
		d := cfg.Peers.DNS
		return dns.New(dns.Options{Name: d.Name, Server: d.Server, Interval: d.Interval, Logger: o.log})
	}
	return nil, fmt.Errorf("peers.source is %s, and this program does not include it: pass "+
		"rebalance.WithSource(config.SourceKubernetes, kube.FromConfig), from the module "+
		"github.com/evenkeel-go/evenkeel/peers/kube, to rebalance.Load", name)
}
