package lookup

import (
	"context"
	"net"
	"time"
)

// dial is what Go's resolver reaches its servers by. It sends it to our server,
// and sees to it that one unanswered question does not use up the time of the
// whole lookup.
func (r *Resolver) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if r.server != "" {
		addr = r.server
	}
	limit := time.Now().Add(r.timeout() / exchangesPerLookup)
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	// Go's resolver frames messages for a stream unless it sees a PacketConn.
	if udp, ok := c.(*net.UDPConn); ok {
		return &packetConn{UDPConn: udp, limit: limit}, nil
	}
	return &streamConn{Conn: c, limit: limit}, nil
}

// packetConn is a UDP socket whose deadline is never later than limit.
type packetConn struct {
	*net.UDPConn

	limit time.Time
}

// SetDeadline is the only one of its kind that the resolver calls.
func (c *packetConn) SetDeadline(t time.Time) error {
	return c.UDPConn.SetDeadline(earlier(t, c.limit))
}

// streamConn is the same over TCP, for answers that do not fit in a packet.
type streamConn struct {
	net.Conn

	limit time.Time
}

func (c *streamConn) SetDeadline(t time.Time) error {
	return c.Conn.SetDeadline(earlier(t, c.limit))
}

// earlier returns the earlier of a and b; zero is never, for b is not.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
