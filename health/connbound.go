package health

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// maxConns bounds the connections to the health port. In a fleet of any size, some 32 peers,
// the kubelet, Prometheus and people need less than a tenth of it.
const maxConns = 512

// connBound bounds the connections of a server. Beyond the bound, each new one closes another:
// one of the address that has the most, and of these the oldest without a request in progress.
// So whoever has a single connection gets an answer, however many others there are.
type connBound struct {
	most int

	mu   sync.Mutex // guards what follows
	next uint64
	all  map[net.Conn]*boundConn
	by   map[netip.Addr]int
}

type boundConn struct {
	number uint64 // the lower, the older
	addr   netip.Addr
	active bool
}

// bound makes srv close what is too much.
func (b *connBound) bound(srv *http.Server) {
	b.all, b.by = map[net.Conn]*boundConn{}, map[netip.Addr]int{}
	srv.ConnState = b.observe
}

func (b *connBound) observe(nc net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch state {
	case http.StateNew:
		b.addLocked(nc)
	case http.StateActive, http.StateIdle:
		if c := b.all[nc]; c != nil {
			c.active = state == http.StateActive
		}
	case http.StateClosed, http.StateHijacked:
		b.removeLocked(nc)
	}
}

func (b *connBound) addLocked(nc net.Conn) {
	b.next++
	c := &boundConn{number: b.next}
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.addr = ap.Addr().Unmap()
	}
	b.all[nc] = c
	b.by[c.addr]++
	if len(b.all) <= b.most {
		return
	}
	if victim := b.victimLocked(nc); victim != nil {
		b.removeLocked(victim) // so that it is not chosen twice
		closeNow(victim)
	}
}

func (b *connBound) removeLocked(nc net.Conn) {
	c := b.all[nc]
	if c == nil {
		return
	}
	delete(b.all, nc)
	if b.by[c.addr]--; b.by[c.addr] == 0 {
		delete(b.by, c.addr)
	}
}

// victimLocked returns the connection to close for a new one. It looks at each, which takes some
// microseconds.
func (b *connBound) victimLocked(added net.Conn) (victim net.Conn) {
	var least *boundConn
	for nc, c := range b.all {
		if nc != added && (least == nil || b.beforeLocked(c, least)) {
			victim, least = nc, c
		}
	}
	return victim
}

// beforeLocked reports whether x is closed rather than y.
func (b *connBound) beforeLocked(x, y *boundConn) bool {
	switch {
	case b.by[x.addr] != b.by[y.addr]:
		return b.by[x.addr] > b.by[y.addr]
	case x.active != y.active:
		return y.active
	}
	return x.number < y.number
}

// closeNow does not wait for a TLS alert to be sent, which a client may hold up.
func closeNow(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	_ = nc.Close()
}
