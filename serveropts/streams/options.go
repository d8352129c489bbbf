package streams

import (
	"errors"
	"fmt"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
)

// Option is an option of [StreamServerInterceptor].
type Option interface{ apply(*policy) }

type option func(*policy)

func (o option) apply(p *policy) { o(p) }

// ErrNoRule is returned if neither [OnDrain] nor [MaxAge] is among the options. The interceptor
// would do nothing.
var ErrNoRule = errors.New("streams: neither OnDrain nor MaxAge is given, so no stream would ever be ended")

const (
	defaultRetryDelay = time.Second
	maxWait           = 24 * time.Hour
	minAge            = time.Second
	maxAge            = 8760 * time.Hour
	maxRetryDelay     = time.Hour
)

// OnDrain ends the streams that match once their connection has been draining for wait,
// whoever drained it: evenkeel, a handler, or grpc-go itself.
//
// wait is the time that a stream has to end by itself, 0 s to 24 h. 0 means at once: 500 ms
// after the drain, since the client must read the GOAWAY first, or it would open the stream
// again on the same connection. Keep wait below shutdown.timeout less a few seconds. A stopping
// server cuts off what lasts longer. The same holds for rebalance.grace, if it is set.
//
// match selects by method, type of stream or context; nil matches every stream. If several
// OnDrain match, the first one counts. Streams of grpc.health.v1 are never matched, because
// health.Register ends them.
//
// Without OnDrain, streams go on until they end by themselves. OnDrain has no effect on
// connections that evenkeel does not track.
func OnDrain(match selector.Matcher, wait time.Duration) Option {
	return option(func(p *policy) {
		p.check(match, "OnDrain", "wait", wait, 0, maxWait)
		p.onDrain = append(p.onDrain, rule{match, wait})
	})
}

// MaxAge ends the streams that match at an age, 10 % earlier or later by chance, so that
// streams that began together do not end together. Their connection gets no GOAWAY and
// remains in service, so most clients open the stream again on the same pod. It bounds how long
// a stream can hold up a drained connection where [OnDrain] does not match, and for how long a
// client goes without authenticating again.
//
// age is 1 s to 8760 h. The default, without MaxAge, is no limit. match is as for [OnDrain]: nil
// matches every stream, the first that matches counts, and grpc.health.v1 is left out.
func MaxAge(match selector.Matcher, age time.Duration) Option {
	return option(func(p *policy) {
		p.check(match, "MaxAge", "age", age, minAge, maxAge)
		p.maxAge = append(p.maxAge, rule{match, age})
	})
}

// RetryDelay sets how long clients are asked to wait before they open an ended stream again. Each
// stream gets a delay of its own, chosen at random between 0 s and longest, so that clients do not
// come back in a herd.
//
// longest is 0 s to 1 h; 0 asks for no wait. The default is 1 s.
//
// The delay is sent twice: as google.rpc.RetryInfo in the details of the status, which the
// program must read, and as the trailer grpc-retry-pushback-ms (gRFC A6). Client libraries obey
// the trailer on their own if their service config has a retryPolicy with UNAVAILABLE, and if the
// client has not got a header yet.
func RetryDelay(longest time.Duration) Option {
	return option(func(p *policy) {
		p.check(nil, "RetryDelay", "longest", longest, 0, maxRetryDelay)
		p.retryDelay = longest
	})
}

// SelfEnding names streams whose handlers return by themselves when the context of their
// stream is done, even while a RecvMsg waits in another goroutine. Their RecvMsg is then
// grpc-go's own and costs nothing. A handler that waits in RecvMsg itself is not released: it goes
// on until its client sends or leaves.
//
// match is as for [OnDrain]; nil matches every stream. The default, without SelfEnding, is none.
// It has no effect on methods whose clients do not stream.
func SelfEnding(match selector.Matcher) Option {
	return option(func(p *policy) {
		p.check(match, "SelfEnding", "", 0, 0, 0)
		p.selfEnding = append(p.selfEnding, rule{match: match})
	})
}

// check notes what is wrong with the arguments of an option.
func (p *policy) check(match selector.Matcher, name, arg string, got, least, most time.Duration) {
	if m, ok := match.(*methods); ok && m.wrong != "" {
		p.errs = append(p.errs, fmt.Errorf("streams: %s: %q is no method: write /package.Service/Method, or /package.Service/* for all of a service", name, m.wrong))
	}
	if got < least || got > most {
		p.errs = append(p.errs, fmt.Errorf("streams: %s: %s is %v, allowed: %v to %v", name, arg, got, least, most))
	}
}

// validate joins everything that is wrong with the options.
func (p *policy) validate() error {
	if len(p.onDrain)+len(p.maxAge) == 0 {
		p.errs = append(p.errs, ErrNoRule)
	}
	return errors.Join(p.errs...)
}
