package health

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConns bounds the connections to the health port. In a fleet of any size, some 32
	// peers, the kubelet, Prometheus and people need less than a tenth of it.
	maxConns = 512
	// refusedFor is how long a refused connection stays open without being read, so that
	// whoever dials again and again does so once a second. At most maxConns of them stay.
	refusedFor = time.Second
)

// connBound bounds the connections of a server. Beyond the bound, each new one closes another:
// one of the address that has the most, and of these the oldest without a request in progress.
// If all of these have one, a new connection of an address that has as many is refused. So
// whoever has a single connection gets an answer, however many others there are.
type connBound struct {
	most       int
	handshakes *handshakeBound // nil without TLS

	mu      sync.Mutex // guards what follows
	next    uint64
	all     map[net.Conn]*boundConn
	by      map[netip.Addr]int
	refused int // that are still open
}

type boundConn struct {
	number uint64 // the lower, the older
	addr   netip.Addr
	active bool
}

// bound makes srv tell of its connections.
func (b *connBound) bound(srv *http.Server) {
	b.all, b.by = map[net.Conn]*boundConn{}, map[netip.Addr]int{}
	if srv.TLSConfig != nil {
		b.handshakes = &handshakeBound{by: map[netip.Addr]*dialer{}}
	}
	srv.ConnState = b.observe
}

// listener refuses what is too much before a server spends anything on it.
type listener struct {
	net.Listener

	bound *connBound
}

func (l listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil || l.bound.admit(nc) {
			return nc, err
		}
		l.bound.refuse(nc)
	}
}

// admit makes room for a new connection, and reports whether there is any.
func (b *connBound) admit(nc net.Conn) bool {
	if !b.handshakes.admit(addrOf(nc), time.Now()) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) < b.most {
		return true
	}
	victim := b.victimLocked()
	c, own := b.all[victim], b.by[addrOf(nc)]
	if c.active && own > 1 && own >= b.by[c.addr] {
		return false
	}
	b.removeLocked(victim) // so that it is not chosen twice
	closeNow(victim)
	return true
}

// refuse closes a connection after a while.
func (b *connBound) refuse(nc net.Conn) {
	b.mu.Lock()
	full := b.refused >= b.most
	if !full {
		b.refused++
	}
	b.mu.Unlock()
	if full {
		_ = nc.Close()
		return
	}
	time.AfterFunc(refusedFor, func() {
		_ = nc.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.refused--
	})
}

func (b *connBound) observe(nc net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch state {
	case http.StateNew:
		b.next++
		b.all[nc] = &boundConn{number: b.next, addr: addrOf(nc)}
		b.by[b.all[nc].addr]++
	case http.StateActive, http.StateIdle:
		if c := b.all[nc]; c != nil {
			c.active = state == http.StateActive
		}
	case http.StateClosed, http.StateHijacked:
		b.removeLocked(nc)
	}
}

func addrOf(nc net.Conn) netip.Addr {
	ap, _ := netip.ParseAddrPort(nc.RemoteAddr().String())
	return ap.Addr().Unmap()
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
func (b *connBound) victimLocked() (victim net.Conn) {
	var least *boundConn
	for nc, c := range b.all {
		if least == nil || b.beforeLocked(c, least) {
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
