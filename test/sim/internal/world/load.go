package world

import (
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// smoothing is the time constant of a registry's request rates.
const smoothing = 30 * time.Second

// noiseEvery is how often the noise of a client's rate moves towards a new random value.
const noiseEvery = 30 * time.Second

// sampleEvery is how often a pod samples the loads of its connections.
const sampleEvery = time.Second

// sampleLoads models conns.Registry.Sample. Until the next sample the sum only changes by the
// connections that open, drain or close.
func (w *World) sampleLoads(p *pod) {
	if !w.cfg.Requests || p.sampled > 0 && w.now-p.sampled < sampleEvery {
		return
	}
	last := p.sampled
	p.sampled, p.sum, p.flying.Load = w.now, 0, 0
	fade := math.Exp(-float64(w.now-last) / float64(smoothing))
	for i := range p.infos {
		info := &p.infos[i]
		slot := slotOf(info.ID)
		factor := 1.0
		if w.bursts {
			factor = w.burstMeasured(slot, info.Opened, last, fade)
		}
		info.Weight = w.weight(w.conns[slot].client, info.Opened) * factor
		switch {
		case !info.Draining:
			if p.hangs {
				info.Weight = w.whileHung(p, info, info.Weight)
			}
			p.sum += info.Weight
		case info.Streams > 0:
			p.flying.Load += info.Weight
		}
	}
}

// weight is the weight that a pod measures for a client's connection: its mean rate so far,
// with the last 30 s counting most. Requests arrive at random, so the fewer there are, the
// larger the error.
func (w *World) weight(client int32, opened time.Duration) float64 {
	rate := float64(w.clients[client].rate)
	if rate == 0 {
		return 0
	}
	counted := rate * min(max(w.now-opened, time.Second), 2*smoothing).Seconds()
	noise := w.cfg.Noise*w.noise(client, 0) + math.Sqrt(3/counted)*w.noise(client, 1<<39)
	return max(0, rate*(1+noise))
}

// noise is between -1 and 1. Every 30 s it moves on to the next random value. Each sort has
// noise of its own.
func (w *World) noise(client int32, sort uint64) float64 {
	k := uint64(w.now / noiseEvery)
	part := float64(w.now%noiseEvery) / float64(noiseEvery)
	h := w.cfg.Seed<<40 ^ uint64(client)<<44 ^ sort ^ k
	return (1-part)*chance(h) + part*chance(h+1)
}

// chance hashes h to a number between -1 and 1 (splitmix64).
func chance(h uint64) float64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return float64(h)/(1<<63) - 1
}

// zipfRates returns the requests per second of n clients in descending order. Their mean is 10.
func zipfRates(n int, exponent float64) []float64 {
	rates := make([]float64, n)
	sum := 0.0
	for i := range rates {
		rates[i] = math.Pow(float64(i+1), -exponent)
		sum += rates[i]
	}
	for i := range rates {
		rates[i] *= 10 * float64(n) / sum
	}
	return rates
}

// load is the View.Load of p.
func (w *World) load(p *pod) float64 {
	if !w.cfg.Requests {
		return float64(p.serving)
	}
	return max(0, p.sum)
}

// callTime is how long an RPC takes on a pod that works.
const callTime = 10 * time.Millisecond

// streams is the mean number of streams in flight of p.
func (w *World) streams(p *pod) float64 {
	switch {
	case !w.cfg.Requests:
		return 0
	case p.hangs:
		return hungStreams * float64(p.serving)
	}
	return w.load(p) * callTime.Seconds()
}

// trueLoad is the load that arrives at p, without errors of measurement.
func (w *World) trueLoad(p *pod) float64 {
	if !w.cfg.Requests && w.cfg.Counted == 0 {
		return float64(p.serving + p.flying.Connections)
	}
	sum := 0.0
	for i := range p.infos {
		if c := &p.infos[i]; !w.counts(c) {
			continue
		} else if !w.cfg.Requests {
			sum++
		} else {
			client := w.conns[slotOf(c.ID)].client
			load := float64(w.clients[client].rate) * (1 + w.cfg.Noise*w.noise(client, 0))
			if w.bursts {
				load *= w.burst(client)
			}
			sum += load
		}
	}
	return sum
}

// counts reports whether a connection is part of the load that is measured.
func (w *World) counts(c *plan.Conn) bool {
	if c.Draining && c.Streams == 0 {
		return false
	}
	return w.cfg.Counted == 0 || int(w.clients[w.conns[slotOf(c.ID)].client].group) < w.cfg.Counted
}
