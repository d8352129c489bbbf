package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// line is a client's connection, which can be reset. As its own local address it names
// itself in the peer.Peer of an RPC. So each RPC that fails shows on which connection.
type line struct {
	*net.TCPConn
	all   *lines
	pause time.Duration // before each read of a slow line; 0 for a fast one
	at    int           // in all.live, guarded by all.mu

	used  atomic.Bool // an RPC has succeeded here
	reset atomic.Bool // set before the connection is reset
}

// LocalAddr returns the line itself.
func (l *line) LocalAddr() net.Addr { return l }

// Network and String make the line a net.Addr.
func (l *line) Network() string { return "tcp" }
func (l *line) String() string  { return l.TCPConn.LocalAddr().String() }

// slowRead is how much a slow line reads at a time.
const slowRead = 8 << 10

// Read reads from the server, little at a time on a slow line.
func (l *line) Read(p []byte) (int, error) {
	if l.pause > 0 {
		time.Sleep(l.pause)
		p = p[:min(len(p), slowRead)]
	}
	return l.TCPConn.Read(p)
}

// Close closes the connection as the client itself does.
func (l *line) Close() error {
	l.all.remove(l)
	return l.TCPConn.Close()
}

// lines are the clients' open connections.
type lines struct {
	dialed, resets atomic.Uint64

	mu   sync.Mutex
	live []*line
}

// dialer returns a dialer whose connections pause before each read.
func (all *lines) dialer(pause time.Duration) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		conn, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, to)
		if err != nil {
			return nil, err
		}
		l := &line{TCPConn: conn, all: all, pause: pause}
		if pause > 0 {
			// What the kernel has buffered counts as read, and would hide a slow client.
			_ = l.SetReadBuffer(2 * slowRead)
		}
		all.add(l)
		return l, nil
	}
}

func (all *lines) add(l *line) {
	all.dialed.Add(1)
	all.mu.Lock()
	defer all.mu.Unlock()
	l.at = len(all.live)
	all.live = append(all.live, l)
}

func (all *lines) remove(l *line) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if l.at < 0 {
		return
	}
	last := all.live[len(all.live)-1]
	all.live[l.at], last.at = last, l.at
	all.live = all.live[:len(all.live)-1]
	l.at = -1
}

// pick removes and returns a connection on which an RPC has succeeded, or nil. A reset of
// any other would break a handshake. RPCs that are not on that connection would then fail.
func (all *lines) pick(rng *rand.Rand) *line {
	all.mu.Lock()
	var l *line
	if n := len(all.live); n > 0 {
		l = all.live[rng.IntN(n)]
	}
	all.mu.Unlock()
	if l == nil || !l.used.Load() {
		return nil
	}
	all.remove(l)
	return l
}

// resetOne resets a connection at random: both sides lose what they have not read.
func (all *lines) resetOne(rng *rand.Rand) {
	l := all.pick(rng)
	if l == nil {
		return
	}
	l.reset.Store(true)
	_ = l.SetLinger(0)
	_ = l.TCPConn.Close()
	all.resets.Add(1)
}
