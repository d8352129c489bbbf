package world

import (
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// flight is a draining connection with open streams.
type flight struct {
	slot   int32
	serial uint64
	at     time.Duration
}

// takeOff counts a connection that drains while it has open streams.
func (w *World) takeOff(slot int32) {
	c := &w.conns[slot]
	info, p := w.info(c), w.pods[c.pod]
	if info.Streams == 0 {
		return
	}
	p.flights = append(p.flights, flight{slot, c.serial, w.now})
	p.flying.Load += info.Weight
	p.flying.Connections++
	p.flying.Streams += info.Streams
	w.clients[c.client].flying++
}

// land counts a draining connection that closes.
func (w *World) land(slot int32) {
	c := &w.conns[slot]
	info, p := w.info(c), w.pods[c.pod]
	if !info.Draining || info.Streams == 0 {
		return
	}
	p.flying.Load -= info.Weight
	p.flying.Connections--
	p.flying.Streams -= info.Streams
	if p.flying.Connections == 0 {
		p.flying = plan.Flight{} // no errors of rounding
	}
	w.clients[c.client].flying--
	w.reopen(c.client)
}

// reopen opens the long stream of a client on its new connection, once the old one has ended.
func (w *World) reopen(i int32) {
	cl := &w.clients[i]
	if cl.flying > 0 || cl.conn < 0 || !cl.long || w.cfg.Groups[cl.group].Kind == RoundRobin {
		return
	}
	if c := &w.conns[cl.conn]; c.serial != 0 && c.client == i && !w.info(c).Draining {
		w.info(c).Streams = 1
	}
}

// inFlight is the View.InFlight of p.
func (w *World) inFlight(p *pod) plan.Flight {
	f := p.flying
	for len(p.flights) > 0 && w.conns[p.flights[0].slot].serial != p.flights[0].serial {
		p.flights = p.flights[1:]
	}
	if len(p.flights) > 0 {
		f.Oldest = w.now - p.flights[0].at
	}
	return f
}

// streamsLast is how long the streams of a draining connection go on.
func (w *World) streamsLast(cl *client) time.Duration {
	if !cl.long {
		return time.Minute // calls of a handler that hangs, until their deadlines
	}
	last := w.cfg.Groups[cl.group].LongFor
	if end := w.cfg.EndStreams; end > 0 {
		last = min(last, w.between(end*9/10, end))
	}
	return last
}

// Hang makes the handlers of pod i hang from now on: its streams stay open, and clients that wait
// for them send no more.
func (w *World) Hang(i int) {
	p := w.pods[i]
	p.hangs, p.hungAt = true, w.now
	w.says(p, "hangs")
}

const (
	// hungStreams is how many streams a client opens before it waits for one of them.
	hungStreams = 8
	// hungRate is the part of a client's rate that goes on: calls that run into their deadlines.
	hungRate = 0.02
)

// whileHung returns the measured weight of a connection of a pod whose handlers hang.
func (w *World) whileHung(p *pod, info *plan.Conn, weight float64) float64 {
	info.Streams = hungStreams
	if info.Opened >= p.hungAt {
		return weight * hungRate
	}
	return weight * max(hungRate, math.Exp(-float64(w.now-p.hungAt)/float64(smoothing)))
}

// trackPods records what single pods went through since the last sample.
func (w *World) trackPods() {
	m := &w.m
	all, pods, out, left := 0, 0, 0, 0
	for _, p := range w.pods {
		switch {
		case p.dead || p.stopping:
		case p.unlisted:
			out++
			left += p.serving + p.flying.Connections
		case p.ready:
			pods++
			all += p.serving
			if w.cfg.Limit > 0 && p.serving > w.cfg.Limit {
				p.overFor += w.cfg.Sample
			}
		}
	}
	switch {
	case out == 0 || left > 0:
		m.emptied = -1
	case m.emptied < 0:
		m.emptied = w.Now()
	}
	for _, p := range w.pods {
		if p.ready && p.alive() && all > 0 {
			p.mostShare = max(p.mostShare, float64(p.serving*pods)/float64(all))
		}
	}
}

// drainedOf counts a GOAWAY of a client.
func (m *metrics) drainedOf(client int32) {
	if m.drained[client]++; m.drained[client] == 2 {
		m.twice++
	}
}
