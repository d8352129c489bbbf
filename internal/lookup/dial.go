package lookup

import (
	"context"
	"net"
	"time"
)

// dial connects Go's resolver to a DNS server: the one of r, if r has one. It bounds each
// query, so that one without an answer neither uses up the time of the whole lookup nor
// outlives it.
func (r *Resolver) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if r.server != "" {
		addr = r.server
	}
	limit := time.Now().Add(r.timeout() / exchangesPerLookup)
	timed, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(timed, network, addr)
	if err != nil {
		return nil, err
	}
	q := &query{Conn: c, ctx: ctx, limit: limit, stop: func() bool { return true }}
	// Go's resolver frames messages for a stream unless it sees a PacketConn.
	if udp, ok := c.(net.PacketConn); ok {
		return packetQuery{PacketConn: udp, query: q}, nil
	}
	return q, nil
}

// query is the connection of one query and its answer. Its deadline is never later than
// limit, and passes when ctx ends: Go's resolver would go on reading after the lookup was
// canceled.
type query struct {
	net.Conn

	ctx   context.Context // of this query
	limit time.Time
	stop  func() bool // stops watching ctx
}

// SetDeadline is the only method for deadlines that the resolver calls, once.
func (q *query) SetDeadline(t time.Time) error {
	if t.IsZero() || q.limit.Before(t) {
		t = q.limit
	}
	err := q.Conn.SetDeadline(t)
	q.stop = context.AfterFunc(q.ctx, func() { _ = q.Conn.SetDeadline(time.Unix(1, 0)) })
	return err
}

func (q *query) Close() error {
	q.stop()
	return q.Conn.Close()
}

// packetQuery is a query over UDP.
type packetQuery struct {
	net.PacketConn
	*query
}

// Both embedded types have the following methods; those of query count.

func (p packetQuery) Close() error                  { return p.query.Close() }
func (p packetQuery) LocalAddr() net.Addr           { return p.query.LocalAddr() }
func (p packetQuery) SetDeadline(t time.Time) error { return p.query.SetDeadline(t) }

// The resolver never calls these.

func (p packetQuery) SetReadDeadline(t time.Time) error { return p.query.SetReadDeadline(t) }

func (p packetQuery) SetWriteDeadline(t time.Time) error { return p.query.SetWriteDeadline(t) }
