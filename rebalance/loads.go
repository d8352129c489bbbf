package rebalance

import (
	"fmt"
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
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
	return loadBy(weight, &sums), sums.Connections
}

func loadBy(weight string, sums *conns.Loads) float64 {
	switch weight {
	case config.WeightConnections:
		return float64(sums.Connections)
	case config.WeightRequests:
		return sums.Requests
	case config.WeightStreams:
		return sums.Streams
	}
	return sums.Weight
}

// weightBy returns the part of loadBy that one connection has.
func weightBy(weight string, i *conns.Info) float64 {
	switch {
	case i.Use != h2conn.InUse:
		return 0
	case weight == config.WeightConnections:
		return 1
	case weight == config.WeightRequests:
		return i.RequestRate
	case weight == config.WeightStreams:
		return i.MeanStreams
	}
	return i.Weight
}

// inFlight returns what the draining connections with open streams still carry.
func (b *Balancer) inFlight(weight string) plan.Flight {
	f := b.reg.Flight()
	return plan.Flight{
		Load: loadBy(weight, &f.Loads), Connections: f.Loads.Connections, Streams: f.Streams, Oldest: f.Oldest,
	}
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
	now, l := b.reg.Now(), &b.loop
	if l.sampledAt != 0 && now-l.sampledAt < sampleEvery {
		return
	}
	l.sampledAt = now
	b.reg.Sample(b.weigher())
	b.measureShare()
	cfg := b.inForce()
	why := b.overloaded(&cfg)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overload = why
}

// weigher returns the user's function that weighs a connection, nil if there is none. The
// registry keeps the sums by all other weights anyway.
func (b *Balancer) weigher() func(*conns.Info) float64 {
	if b.opts.weigh == nil {
		return nil
	}
	now := b.reg.Now()
	return func(i *conns.Info) float64 {
		return b.opts.weigh(ConnStats{
			Key: i.Key, Age: now - i.Opened, Streams: i.Streams, StreamsOpened: i.StreamsOpened,
			RequestRate: i.RequestRate, MeanStreams: i.MeanStreams,
		})
	}
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
	cfg := b.inForce()
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
