package health

import (
	"context"
	"sync"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Register registers grpc.health.v1 (Check, List and Watch) on srv and returns
// the server behind it, on which the status of single services can be set. The
// overall status, service "", starts as SERVING. Once bal is shutting down every
// service is NOT_SERVING, streams of Watch are told so at once, and what is set
// from then on is ignored.
//
// Each call also lets bal check that its connection is tracked
// ([rebalance.Balancer.Seen]): kubelets and clients that watch health thus give
// away a server whose own grpc.Creds replaced those of evenkeel, even before the
// first real call.
//
// Like every registration it must come before srv.Serve, and it panics if srv
// has a health service already.
func Register(srv grpc.ServiceRegistrar, bal *rebalance.Balancer) *grpchealth.Server {
	return register(srv, sourceOf(bal))
}

func register(srv grpc.ServiceRegistrar, src source) *grpchealth.Server {
	s := &service{Server: grpchealth.NewServer(), src: src}
	healthpb.RegisterHealthServer(srv, s)
	return s.Server
}

// service ties grpc's own health server to the end of a Balancer. Check and List
// look whether it has come. Only a Watch must be told, so one goroutine waits
// for it while there is any Watch, and none otherwise: there is no goroutine that
// somebody would have to stop, nor one more for each stream.
type service struct {
	*grpchealth.Server
	src source

	mu      sync.Mutex
	watches int           // streams of Watch that are open
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
	s.enter()
	defer s.leave()
	s.called(stream.Context())
	return s.Server.Watch(in, stream)
}

// called is the beginning of every call. Shutdown is repeated with each: it costs
// next to nothing, and a Resume of the user's cannot bring a stopping pod back.
func (s *service) called(ctx context.Context) {
	s.src.Seen(ctx)
	if stopping(s.src) {
		s.Shutdown()
	}
}

// enter counts a Watch; the first one starts the wait.
func (s *service) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches++
	if s.watches == 1 {
		s.idle = make(chan struct{})
		go s.await(s.idle)
	}
}

// leave ends the wait with the last Watch.
func (s *service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches--
	if s.watches == 0 {
		close(s.idle)
	}
}

func (s *service) await(idle <-chan struct{}) {
	select {
	case <-s.src.Stopping():
		s.Shutdown()
	case <-idle:
	}
}
