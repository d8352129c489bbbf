package world

import (
	"cmp"
	"math"
	"slices"
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

// smoothed is a mean over time in which the past fades away.
type smoothed struct{ sum, weight float64 }

// add adds a value that lasted while the past faded by the given factor.
func (s *smoothed) add(value, fade float64) {
	s.sum = s.sum*fade + value*(1-fade)
	s.weight = s.weight*fade + 1 - fade
}

// burstMeasured is the mean factor of a connection since it was opened, with the last 30 s counting
// most, as a pod's registry measures it. Since the pod's last sample the past has faded by fade.
func (w *World) burstMeasured(slot int32, opened, last time.Duration, fade float64) float64 {
	for len(w.measured) < len(w.conns) {
		w.measured = append(w.measured, smoothed{})
	}
	m, client := &w.measured[slot], w.conns[slot].client
	b := &w.cfg.Groups[w.clients[client].group].Bursts
	if b.On == 0 {
		return 1
	}
	rate, begin := w.slotAt(client, b, w.now)
	if last == 0 || opened >= last { // the first sample
		age := min(w.now-opened, 6*smoothing) // what was before weighs less than 1 %
		*m = smoothed{}
		m.add(rate, math.Exp(-float64(max(age, time.Millisecond))/float64(smoothing)))
		return rate
	}
	if begin > last {
		before, _ := w.slotAt(client, b, last)
		part := float64(begin-last) / float64(w.now-last)
		rate = before*part + rate*(1-part)
	}
	m.add(rate, fade)
	return m.sum / m.weight
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
	w.newAddresses(i, w.subset(i, v))
}

// subset returns those pods of v that client i connects to. Like grpc-go's random subsetting, it
// hashes each pod with a seed of the channel, and takes those of the lowest hashes.
func (w *World) subset(i int32, v *version) *version {
	n := w.cfg.Groups[w.clients[i].group].Subset
	if n == 0 || n >= len(v.pods) {
		return v
	}
	at := make([]int, len(v.pods))
	for k := range at {
		at[k] = k
	}
	hash := func(k int) float64 { return chance(w.cfg.Seed<<40 ^ uint64(i)<<20 ^ uint64(v.pods[k])) }
	slices.SortFunc(at, func(a, b int) int { return cmp.Compare(hash(a), hash(b)) })
	at = at[:n]
	slices.Sort(at)
	return v.only(at)
}

// zoneOf is the zone of a pod, from 1 on.
func (w *World) zoneOf(pod int32) int { return int(pod)%w.cfg.Zones + 1 }

// choosePod returns the pod of v that kube-proxy picks: any, or one in the zone of the client if that
// zone has one (trafficDistribution: PreferSameZone with hints in force).
func (w *World) choosePod(c *client, v *version) int32 {
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
