package world

import (
	"math"
	"time"
)

// Bursts describe clients that are busy at some times and quiet at others. All have the same
// mean rate over a long time.
type Bursts struct {
	// Slot is how long a client stays busy or quiet.
	Slot time.Duration
	// On is the share of slots in which it is busy; 0: its rate is steady.
	On float64
	// Low is its rate in quiet slots, as a share of that in busy ones.
	Low float64
}

// rate is the factor of the mean rate while a client is busy or quiet.
func (b *Bursts) rate(busy bool) float64 {
	high := 1 / (b.On + (1-b.On)*b.Low)
	if busy {
		return high
	}
	return high * b.Low
}

// slotAt returns the factor of a client's rate at t, and when its slot began.
func (w *World) slotAt(client int32, b *Bursts, t time.Duration) (rate float64, begin time.Duration) {
	h := w.cfg.Seed<<40 ^ uint64(client)<<20
	phase := time.Duration((chance(h^1<<63) + 1) / 2 * float64(b.Slot))
	begin = (t + phase).Truncate(b.Slot) - phase
	busy := (chance(h^uint64((t+phase)/b.Slot))+1)/2 < b.On
	return b.rate(busy), begin
}

// burst is the factor of the client's mean rate now.
func (w *World) burst(client int32) float64 {
	if w.cfg.Groups[w.clients[client].group].Bursts.On == 0 {
		return 1
	}
	rate, _ := w.slotAt(client, &w.cfg.Groups[w.clients[client].group].Bursts, w.now)
	return rate
}

// burstMeasured is the mean factor since opened, with the last 30 s counting most, as a pod's
// registry measures it.
func (w *World) burstMeasured(client int32, opened time.Duration) float64 {
	if w.cfg.Groups[w.clients[client].group].Bursts.On == 0 {
		return 1
	}
	b := &w.cfg.Groups[w.clients[client].group].Bursts
	opened = max(opened, w.now-6*smoothing) // what was before weighs less than 1 %
	if opened >= w.now {
		return w.burst(client)
	}
	weight := func(t time.Duration) float64 { return math.Exp(-float64(w.now-t) / float64(smoothing)) }
	sum, end := 0.0, w.now
	for end > opened {
		rate, begin := w.slotAt(client, b, end-1)
		begin = max(begin, opened)
		sum += rate * (weight(end) - weight(begin))
		end = begin
	}
	return sum / (1 - weight(opened))
}

// planEnd schedules the end of a client, if its group lives for a limited time.
func (w *World) planEnd(i int32) {
	if life := w.cfg.Groups[w.clients[i].group].Life; life > 0 {
		w.push(evEnd, w.now+time.Duration(w.rng.ExpFloat64()*float64(life)), i, 0)
	}
}

// endClient closes the connections of a client, and begins another one in its place.
func (w *World) endClient(i int32) {
	c := &w.clients[i]
	for slot := w.heads[c.key]; slot >= 0; {
		next := w.conns[slot].keyNext
		if w.conns[slot].client == i {
			w.remove(slot)
		}
		slot = next
	}
	w.lives++
	if w.cfg.Groups[c.group].Keys == 0 {
		c.key = w.addKeys(1)
	}
	w.begin(i)
	w.planEnd(i)
}

// begin connects a new client.
func (w *World) begin(i int32) {
	c := &w.clients[i]
	c.conn, c.resolved, c.resolveAt = -1, w.now, 0
	switch w.cfg.Groups[c.group].Kind {
	case RoundRobin:
		w.channels[c.channel] = nil
		w.newAnswer(i)
		return
	case PickFirst:
		w.newAnswer(i)
	}
	w.push(evDial, w.now+w.between(2*time.Millisecond, 20*time.Millisecond), i, -1)
}

// newAnswer handles the answer that client i gets now.
func (w *World) newAnswer(i int32) {
	v := w.lookup(i)
	if w.cfg.Groups[w.clients[i].group].Kind == PickFirst {
		w.newFirst(i, v)
		return
	}
	w.newAddresses(i, v)
}

// zoneOf is the zone of a pod, from 1 on.
func (w *World) zoneOf(pod int32) int { return int(pod)%w.cfg.Zones + 1 }

// land returns the pod of v that kube-proxy picks: any, or one in the zone of the client if that
// zone has one (trafficDistribution: PreferSameZone with hints in force).
func (w *World) land(c *client, v *version) int32 {
	zone := w.cfg.Groups[c.group].Zone
	if w.cfg.Attract != nil {
		return w.attracted(v)
	}
	if w.cfg.Zones == 0 || zone == 0 {
		return v.pods[w.rng.IntN(len(v.pods))]
	}
	var near []int32
	for _, p := range v.pods {
		if w.zoneOf(p) == zone {
			near = append(near, p)
		}
	}
	if len(near) == 0 {
		near = v.pods
	}
	return near[w.rng.IntN(len(near))]
}

// attracted returns a pod of v by chance, in proportion to Config.Attract.
func (w *World) attracted(v *version) int32 {
	sum := 0.0
	for _, p := range v.pods {
		sum += w.cfg.Attract(int(p))
	}
	at := w.rng.Float64() * sum
	for _, p := range v.pods {
		if at -= w.cfg.Attract(int(p)); at < 0 {
			return p
		}
	}
	return v.pods[len(v.pods)-1]
}

// startLoads returns the loads with which the placement of a group begins. A pod out of the
// group's reach has an endless load.
func (w *World) startLoads(g *Group) []float64 {
	loads := make([]float64, len(w.pods))
	for i := range loads {
		if w.cfg.Zones > 0 && g.Zone > 0 && w.zoneOf(int32(i)) != g.Zone {
			loads[i] = math.Inf(1)
		}
	}
	return loads
}

// waits reports whether a draining connection is still the one that its client uses: a lazy
// client reconnects once its stream has ended.
func (w *World) waits(slot int32) bool {
	if !w.lazy {
		return false
	}
	c := &w.conns[slot]
	cl := &w.clients[c.client]
	g := &w.cfg.Groups[cl.group]
	return g.Lazy && g.Kind != RoundRobin && cl.long && cl.conn == slot && w.info(c).Draining
}

// waiting is the number of p's draining connections whose clients have nothing else.
func (w *World) waiting(p *pod) int {
	if !w.lazy {
		return 0
	}
	n := 0
	for i := range p.infos {
		if w.waits(slotOf(p.infos[i].ID)) {
			n++
		}
	}
	return n
}
