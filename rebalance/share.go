package rebalance

import (
	"fmt"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/cgroup"
	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// coresEvery is how often the CPU limit is read again: Kubernetes may resize a running pod.
const coresEvery = 30 * time.Second

// coldShare is the part of its share with which a pod begins to warm up. Nothing at all would
// never warm it up, and the least that can move is one connection, which is a tenth of a small
// pod's load. Envoy's slow start begins with a tenth, too.
const coldShare = 0.1

// warmth returns the part of its share that this pod takes. It grows evenly, up to 1.
//
//	rebalance.warmup 60s    after 0s 0.1, after 30s 0.55, after 60s 1
func warmth(serving, warmup time.Duration) float64 {
	if serving >= warmup {
		return 1
	}
	return coldShare + (1-coldShare)*serving.Seconds()/warmup.Seconds()
}

// shares are the parts of this pod's share. The product of all of them is what peers compare.
type shares struct {
	cores          float64 // of the CPU limit, as it is reported; 0: not known
	capacity       float64 // what cores or the function of WithShare come to
	warm           float64
	relief         float64 // see plan.State.Relief
	paused         bool
	inFlight       float64 // the load of plan.View.InFlight
	inFlightWeight string  // by which weight
}

func (s *shares) all() float64 { return s.capacity * s.warm * s.relief }

// shares returns the parts of this pod's share.
func (b *Balancer) shares(cfg *config.Config) shares {
	c, capacity := b.peers.Capacity()
	warm := warmth(b.serving(), cfg.Rebalance.Warmup)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.planShares
	s.cores, s.capacity, s.warm = c.Cores, capacity, warm
	return s
}

// prepareShare sets what this pod tells of its capacity before Run measures it. The other pods
// must not conclude for a moment that its size is not known, or that it has no share of its own.
func (b *Balancer) prepareShare() {
	b.planShares.relief = 1
	if b.opts.share != nil {
		b.peers.SetCapacity(peerview.Capacity{Share: 1})
		return
	}
	b.peers.SetCapacity(peerview.Capacity{Cores: b.opts.cores()})
}

// measureShare measures this pod's capacity.
func (b *Balancer) measureShare() {
	l, now := &b.loop, b.reg.Now()
	if b.opts.share == nil {
		if now-l.coresAt >= coresEvery {
			l.coresAt = now
			b.peers.SetCapacity(peerview.Capacity{Cores: b.opts.cores()})
		}
		return
	}
	share := b.opts.share()
	l.badShare = ""
	if !peerz.ValidShare(share) {
		l.badShare = fmt.Sprintf("the function of rebalance.WithShare has returned %v, which counts as 1: "+
			"return a number from %v to %v", share, peerz.MinShare, peerz.MaxShare)
		share = 1
	}
	b.peers.SetCapacity(peerview.Capacity{Share: share})
}

// cgroupCores returns the CPU limit of this process.
func cgroupCores() float64 { return cgroup.Cores("/") }
