package health

import (
	"context"
	"sync"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Register registers grpc.health.v1 (Check, List and Watch) on srv. It returns the server
// behind it, on which you can set the status of single services. The overall status,
// service "", starts as SERVING. Once bal is shutting down, every service is NOT_SERVING,
// open Watch streams are notified at once, and statuses set from then on are ignored.
//
// Each call also lets bal check that the call's connection is tracked. A server whose own
// grpc.Creds replaced those of evenkeel therefore shows the condition untracked after the
// first probe, before the first real call.
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

// service ties grpc's own health server to the shutdown of a Balancer. Check and List test
// for it on each call, but a Watch must be notified. One goroutine waits for the shutdown
// while any Watch is open, and none otherwise. So there is no goroutine that somebody has
// to stop, and not one for each stream.
type service struct {
	*grpchealth.Server
	src source

	mu      sync.Mutex
	watches int           // open Watch streams
	idle    chan struct{} // closed when the last of them has ended
}

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

// Watch implements grpc.health.v1.
func (s *service) Watch(in *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	s.beginWatch()
	defer s.endWatch()
	s.called(stream.Context())
	return s.Server.Watch(in, stream)
}

// called begins every call. It repeats Shutdown each time: that costs next to nothing, and
// a Resume by the user cannot bring a stopping pod back.
func (s *service) called(ctx context.Context) {
	s.src.Seen(ctx)
	if stopping(s.src) {
		s.Shutdown()
	}
}

// beginWatch counts a Watch and starts the goroutine with the first one.
func (s *service) beginWatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches++
	if s.watches == 1 {
		s.idle = make(chan struct{})
		go s.awaitStop(s.idle)
	}
}

// endWatch ends the goroutine with the last Watch.
func (s *service) endWatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches--
	if s.watches == 0 {
		close(s.idle)
	}
}

func (s *service) awaitStop(idle <-chan struct{}) {
	select {
	case <-s.src.Stopping():
		s.Shutdown()
	case <-idle:
	}
}
