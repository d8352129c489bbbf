package conns

import (
	"net"
	"time"
)

// handshake is a connection that has not reached HTTP/2 yet.
type handshake struct {
	raw   net.Conn
	since time.Duration
}

// Handshake notes that a handshake begins on raw. The caller calls done at its end.
func (r *Registry) Handshake(raw net.Conn) (done func()) {
	h := &handshake{raw: raw, since: r.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handshakes[h] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.handshakes, h)
	}
}

// CloseSilent closes the connections of at least the given age whose clients have not begun
// to speak HTTP/2, and returns their number. Such a connection carries no RPC.
func (r *Registry) CloseSilent(age time.Duration) int {
	raw, silent := r.silent(r.Now() - age)
	for _, nc := range raw {
		_ = nc.Close()
	}
	closed := len(raw)
	for _, c := range silent {
		if c.wire.CloseSilent() {
			closed++
		}
	}
	return closed
}

// Arriving returns the number of connections that have come within the last d and whose
// clients have not begun to speak HTTP/2 yet.
func (r *Registry) Arriving(d time.Duration) int {
	n, since := 0, r.Now()-d
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.arriving {
		if a.since >= since {
			n++
		}
	}
	return n
}

// silent returns the connections that began before the given time: those in a handshake,
// and those after it.
func (r *Registry) silent(until time.Duration) (raw []net.Conn, silent []*Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.handshakes {
		if h.since <= until {
			raw = append(raw, h.raw)
			delete(r.handshakes, h)
		}
	}
	for _, a := range r.arriving {
		if c := a.conn.Value(); c != nil && a.since <= until {
			silent = append(silent, c)
		}
	}
	return raw, silent
}
