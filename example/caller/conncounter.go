package caller

import (
	"context"

	"google.golang.org/grpc/stats"
)

// connCounter counts the connections that the channels open.
type connCounter struct{ tally *tally }

var _ stats.Handler = connCounter{}

func (connCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (connCounter) HandleRPC(context.Context, stats.RPCStats)                         {}
func (connCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c connCounter) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		c.tally.opened()
	}
}
