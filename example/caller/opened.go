package caller

import (
	"context"

	"google.golang.org/grpc/stats"
)

// opened counts the connections that the channels make.
type opened struct{ tally *tally }

var _ stats.Handler = opened{}

func (opened) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (opened) HandleRPC(context.Context, stats.RPCStats)                         {}
func (opened) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (o opened) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		o.tally.opened()
	}
}
