package health

import (
	"net/netip"
	"sync"
	"time"
)

// The bounds of TLS handshakes, each of which costs a millisecond or two of CPU. Peers and Prometheus
// keep their connections. The kubelet dials for each probe, once a second at most.
const (
	handshakesEach = 10  // a second, of one address
	handshakesFree = 2   // a second, of one address, whatever others do
	handshakesAll  = 100 // a second, of all addresses beyond what is free
	// handshakesBurst is how many seconds of each rate may be saved up.
	handshakesBurst = 4
	// handshakesKept bounds the addresses that are remembered.
	handshakesKept = 4096
)

// handshakeBound bounds how often clients may connect where each connection costs a handshake. An
// address gets what is free first, so that nobody is kept away by many others.
type handshakeBound struct {
	mu  sync.Mutex // guards what follows
	all bucket
	by  map[netip.Addr]*dialer
}

type dialer struct{ each, free bucket }

// bucket holds tokens, which come back at a rate.
type bucket struct {
	tokens float64
	at     time.Time
}

// take reports whether there is a token, and takes it.
func (b *bucket) take(now time.Time, rate float64) bool {
	most := rate * handshakesBurst
	if b.at.IsZero() {
		b.tokens, b.at = most, now
	}
	b.tokens, b.at = min(most, b.tokens+now.Sub(b.at).Seconds()*rate), now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// admit reports whether a client with this address may begin a handshake. A nil bound admits all.
func (h *handshakeBound) admit(addr netip.Addr, now time.Time) bool {
	if h == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.by[addr]
	if d == nil {
		h.forgetLocked(now)
		d = &dialer{}
		h.by[addr] = d
	}
	return d.each.take(now, handshakesEach) && (d.free.take(now, handshakesFree) || h.all.take(now, handshakesAll))
}

// forgetLocked makes room for a new address. The buckets of one that has not come for a while are
// full again. If all are busy, all are forgotten: then the bound on connections remains.
func (h *handshakeBound) forgetLocked(now time.Time) {
	if len(h.by) < handshakesKept {
		return
	}
	for addr, d := range h.by {
		if now.Sub(d.each.at) > handshakesBurst*time.Second {
			delete(h.by, addr)
		}
	}
	if len(h.by) >= handshakesKept {
		clear(h.by)
	}
}
