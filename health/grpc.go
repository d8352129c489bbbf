package health

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Register registers grpc.health.v1 (Check, List and Watch) on srv. It returns the server
// behind it, on which you can set the status of single services. The overall status,
// service "", starts as SERVING. Once bal is shutting down, every service is NOT_SERVING,
// open Watch streams are notified at once, and statuses set from then on are ignored.
//
// A Watch ends with codes.Unavailable about a second after its connection was drained, or
// after GracefulStop has begun. So a client that watches delays neither the end of its
// connection nor the stop.
//
// Each call also lets bal check that it tracks the call's connection. After the first probe,
// before the first real call, a condition therefore shows a server whose own grpc.Creds
// replaced those of evenkeel (untracked), one whose options are of another Balancer
// (other-balancer), and one that serves through ServeHTTP (serve-http).
//
// As with every registration, call it before srv.Serve. It panics if srv already has a
// health service.
func Register(srv grpc.ServiceRegistrar, bal *rebalance.Balancer) *grpchealth.Server {
	return register(srv, sourceOf(bal))
}

func register(srv grpc.ServiceRegistrar, src source) *grpchealth.Server {
	s := &service{Server: grpchealth.NewServer(), src: src}
	healthpb.RegisterHealthServer(srv, s)
	return s.Server
}

// service ties grpc's own health server to the shutdown of a Balancer and to the drains of
// connections. Check and List test for a shutdown on each call, but a Watch must be notified.
// One goroutine does so while any Watch is open, and none otherwise. So there is no goroutine
// that somebody has to stop, and not one for each stream.
type service struct {
	*grpchealth.Server
	src source

	mu      sync.Mutex
	watches map[*watch]struct{} // open Watch streams
	idle    chan struct{}       // closed when the last of them has ended
}

// watch is an open Watch stream whose context the service can end.
type watch struct {
	healthpb.Health_WatchServer

	ctx     context.Context
	end     context.CancelCauseFunc
	drained <-chan struct{} // closed when the connection drains; nil if it is not tracked
	leaving bool            // the service ends it with the next tick
}

// Context is the context of the stream, which the service can end.
func (w *watch) Context() context.Context { return w.ctx }

// errLeave ends a Watch. Clients open it again elsewhere.
var errLeave = status.Error(codes.Unavailable, "this connection is drained or this server is stopping: watch another one")

// watchPoll is how often the service looks for Watch streams to end. A stream ends with the
// second tick after its connection was drained. The GOAWAY waits for the client for up to
// 100 ms, and clients that check the health of a connection themselves, such as grpc-go, end
// their Watch when they read it. One that read the end of its Watch first would believe that
// a connection in service is unhealthy.
const watchPoll = 500 * time.Millisecond

// Check implements grpc.health.v1.
func (s *service) Check(ctx context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s.called(ctx)
	return s.Server.Check(ctx, in)
}

// List implements grpc.health.v1.
func (s *service) List(ctx context.Context, in *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	s.called(ctx)
	return s.Server.List(ctx, in)
}

// Watch implements grpc.health.v1. It ends by itself, with codes.Unavailable, so that it
// holds up neither the end of a drained connection nor GracefulStop, which waits for it.
func (s *service) Watch(in *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	w := &watch{Health_WatchServer: stream, ctx: ctx, end: cancel, drained: rebalance.Draining(ctx)}
	s.beginWatch(w)
	defer s.endWatch(w)
	s.called(ctx)
	err := s.Server.Watch(in, w)
	if cause := context.Cause(ctx); errors.Is(cause, errLeave) {
		return cause
	}
	return err
}

// called begins every call. It repeats Shutdown each time: that costs next to nothing, and
// a Resume by the user cannot bring a stopping pod back.
func (s *service) called(ctx context.Context) {
	s.src.Seen(ctx)
	if stopping(s.src) {
		s.Shutdown()
	}
}

// beginWatch adds a Watch and starts the goroutine with the first one.
func (s *service) beginWatch(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.watches) == 0 {
		s.watches = make(map[*watch]struct{})
		s.idle = make(chan struct{})
		go s.follow(s.idle)
	}
	s.watches[w] = struct{}{}
}

// endWatch ends the goroutine with the last Watch.
func (s *service) endWatch(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watches, w)
	if len(s.watches) == 0 {
		close(s.idle)
	}
}

// follow notifies the Watch streams of a shutdown, and ends them.
func (s *service) follow(idle <-chan struct{}) {
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	for stopping := s.src.Stopping(); ; {
		select {
		case <-stopping:
			s.Shutdown()
			stopping = nil
		case <-tick.C:
			s.endDrained()
		case <-idle:
			return
		}
	}
}

// endDrained ends the streams that were to end at the tick before. If the servers have begun
// to stop, these are all of them.
func (s *service) endDrained() {
	closing := closed(s.src.Closing())
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		if w.leaving {
			w.end(errLeave)
		}
		w.leaving = closing || closed(w.drained)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
