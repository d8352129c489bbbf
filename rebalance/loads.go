package rebalance

import (
	"fmt"
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// weight returns the measure of load in force.
func (b *Balancer) weight(cfg *config.Config) string {
	if b.opts.weigh != nil {
		return config.WeightCustom
	}
	return cfg.Rebalance.Weight
}

// load returns this pod's load by a weight, and the number of connections that carry it.
func (b *Balancer) load(weight string) (load float64, serving int) {
	sums := b.reg.Loads()
	if weight == config.WeightConnections {
		return float64(sums.Connections), sums.Connections
	}
	return sums.Weight, sums.Connections
}

// loadsByWeight returns this pod's loads by every weight that it measures. So pods whose
// configurations differ for a moment still understand each other.
func (b *Balancer) loadsByWeight() map[string]float64 {
	sums := b.reg.Loads()
	out := map[string]float64{
		config.WeightConnections: float64(sums.Connections),
		config.WeightRequests:    sums.Requests,
		config.WeightStreams:     sums.Streams,
	}
	if b.opts.weigh != nil {
		out[config.WeightCustom] = sums.Weight
	}
	return out
}

// sampleEvery is how often the loads of the connections are sampled.
const sampleEvery = time.Second

// sample measures the loads of the connections, and whether this pod is overloaded.
func (b *Balancer) sample() {
	now := b.reg.Now()
	cfg := b.Config()
	weight, l := b.weight(&cfg), &b.loop
	// Sums by another weight must not be compared with the loads of peers by this one.
	if l.sampledAt != 0 && now-l.sampledAt < sampleEvery && weight == l.sampledBy {
		return
	}
	l.sampledAt, l.sampledBy = now, weight
	b.reg.Sample(b.weigher(&cfg))
	b.measureShare()
	why := b.overloaded(&cfg)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overload = why
}

// weigher returns the function that weighs a connection. It is nil for the weight
// connections, where each counts as 1.
func (b *Balancer) weigher(cfg *config.Config) func(*conns.Info) float64 {
	switch b.weight(cfg) {
	case config.WeightRequests:
		return func(i *conns.Info) float64 { return i.RequestRate }
	case config.WeightStreams:
		return func(i *conns.Info) float64 { return i.MeanStreams }
	case config.WeightCustom:
		now := b.reg.Now()
		return func(i *conns.Info) float64 {
			return b.opts.weigh(ConnStats{
				Key: i.Key, Age: now - i.Opened, Streams: i.Streams, StreamsOpened: i.StreamsOpened,
				RequestRate: i.RequestRate, MeanStreams: i.MeanStreams,
			})
		}
	}
	return nil
}

// overloaded returns why this pod is overloaded, empty if it is not. The signal of
// rebalance.maxStreams ends a tenth below where it began, so that it does not flap.
func (b *Balancer) overloaded(cfg *config.Config) string {
	if b.opts.shed != nil {
		if why := b.opts.shed(); why != "" {
			return why
		}
	}
	limit := cfg.Rebalance.MaxStreams
	if limit == 0 {
		return ""
	}
	open := b.reg.Brief().Streams
	if open > limit || b.overload != "" && open > limit-limit/10 {
		return fmt.Sprintf("more than %d streams are in flight (rebalance.maxStreams)", limit)
	}
	return ""
}

// loadStatus are the loads as a person sees them.
type loadStatus struct {
	weight    string
	own, mean float64 // mean is 0 if it is not known
	band      Band
	shares    shares
}

func (b *Balancer) loadStatus() loadStatus {
	cfg := b.Config()
	l := loadStatus{weight: b.weight(&cfg), shares: b.shares(&cfg)}
	l.own, _ = b.load(l.weight)
	members, stale := b.peers.Members()
	if stale != "" {
		return l
	}
	load, share, n := b.peers.LoadsWithin(plan.ReportFresh, members, l.weight)
	if !plan.Enough(n, len(members)-1) {
		return l
	}
	// A person compares all of them with this pod's load, so they are not per share.
	own := l.shares.all()
	l.mean = (l.own + l.shares.inFlight + load) / (own + share) * own
	l.band = Band(plan.BandOf(l.mean, policyOf(&cfg, l.weight)))
	return l
}

// seconds rounds an age for people.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()) }
