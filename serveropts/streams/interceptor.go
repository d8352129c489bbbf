package streams

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"google.golang.org/grpc"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	// goAwayAhead is how long a stream lasts at least after its connection was drained, since the
	// GOAWAY has to reach the client first. The GOAWAY may wait for a slow client for longer, but
	// then the end of the stream waits behind it (docs/design/wire.md). A Watch of
	// grpc.health.v1 waits as long.
	goAwayAhead = 500 * time.Millisecond
	// ageJitter is the part of MaxAge by which a stream ends earlier or later, as that of
	// connections (gRFC A9).
	ageJitter = 0.1
	// healthService is left to health.Register. A client that checks the health of its
	// connections gives one up whose Watch ends while it is in service.
	healthService = "grpc.health.v1.Health"
)

// policy holds the options.
type policy struct {
	onDrain, maxAge, selfEnding []rule

	retryDelay time.Duration
	errs       []error
}

// StreamServerInterceptor returns an interceptor that ends long streams as the options say. Give
// it to grpc.ChainStreamInterceptor, as the last one. Those before it, such as logging,
// then see the status that the client gets.
//
// A server needs one such interceptor. Its options apply in any order, but among several
// [OnDrain], and among several [MaxAge], the first that matches a stream counts. A stream to
// which both apply ends with whichever comes first.
//
// StreamServerInterceptor returns an error that joins everything that is wrong with the
// options: a duration out of its range, a name that is no method, or no [OnDrain] and no
// [MaxAge] at all ([ErrNoRule]).
func StreamServerInterceptor(opts ...Option) (grpc.StreamServerInterceptor, error) {
	p := &policy{retryDelay: defaultRetryDelay}
	for _, o := range opts {
		o.apply(p)
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	return p.intercept, nil
}

// intercept passes a stream on that no rule matches, without an allocation.
func (p *policy) intercept(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, call := ss.Context(), interceptors.NewServerCallMeta(info.FullMethod, info, nil)
	if call.Service == healthService {
		return handler(srv, ss)
	}
	wait, drains := firstOf(ctx, call, p.onDrain)
	age, ages := firstOf(ctx, call, p.maxAge)
	if !drains && !ages {
		return handler(srv, ss)
	}
	s := newStream(ss, p.retryDelay)
	defer s.release()
	if drains {
		stop, tracked := rebalance.AfterDraining(ctx, func() { s.endAfter(max(wait, goAwayAhead), whyDrained) })
		if !tracked && !ages {
			return handler(srv, ss)
		}
		defer stop()
	}
	if ages {
		s.endAfter(jittered(age), whyAged)
	}
	if info.IsClientStream && !p.endsItself(ctx, call) {
		s.recv = newReceiver()
	}
	return s.outcome(handler(srv, s))
}

func (p *policy) endsItself(ctx context.Context, call interceptors.CallMeta) bool {
	_, ok := firstOf(ctx, call, p.selfEnding)
	return ok
}

// jittered returns d, up to a tenth more or less.
func jittered(d time.Duration) time.Duration {
	return d + time.Duration((2*rand.Float64()-1)*ageJitter*float64(d))
}
