package lookup

import (
	"context"
	"net"
	"time"
)

// dial is what Go's resolver reaches its servers by. It sends it to our server,
// and sees to it that one unanswered question does not use up the time of the
// whole lookup, nor outlive it.
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
	q := &question{Conn: c, ctx: ctx, limit: limit, stop: func() bool { return true }}
	// Go's resolver frames messages for a stream unless it sees a PacketConn.
	if udp, ok := c.(net.PacketConn); ok {
		return packetQuestion{PacketConn: udp, question: q}, nil
	}
	return q, nil
}

// question is the connection of one question and its answer. Its deadline is
// never later than limit, and ends with ctx: Go's resolver would go on reading
// after a lookup was given up.
type question struct {
	net.Conn

	ctx   context.Context // of the question, like the connection
	limit time.Time
	stop  func() bool // watching ctx
}

// SetDeadline is the only one of its kind that the resolver calls, once.
func (q *question) SetDeadline(t time.Time) error {
	if t.IsZero() || q.limit.Before(t) {
		t = q.limit
	}
	err := q.Conn.SetDeadline(t)
	q.stop = context.AfterFunc(q.ctx, func() { _ = q.Conn.SetDeadline(time.Unix(1, 0)) })
	return err
}

func (q *question) Close() error {
	q.stop()
	return q.Conn.Close()
}

// packetQuestion is a question over UDP.
type packetQuestion struct {
	net.PacketConn
	*question
}

// What both have is the question's.

func (p packetQuestion) Close() error                  { return p.question.Close() }
func (p packetQuestion) LocalAddr() net.Addr           { return p.question.LocalAddr() }
func (p packetQuestion) SetDeadline(t time.Time) error { return p.question.SetDeadline(t) }

// The resolver never calls these.

func (p packetQuestion) SetReadDeadline(t time.Time) error { return p.question.SetReadDeadline(t) }

func (p packetQuestion) SetWriteDeadline(t time.Time) error { return p.question.SetWriteDeadline(t) }
