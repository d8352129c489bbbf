package health

import (
	"context"
	"net"
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
)

// rig is a real gRPC server over memory with nothing but the health service.
type rig struct {
	src      *fake
	statuses *grpchealth.Server
	client   healthpb.HealthClient
}

// inBubble runs a test against a rig. At its end the bubble itself fails the
// test if any goroutine is left, those of this package among them.
func inBubble(t *testing.T, test func(t *testing.T, r rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ln := bufconn.Listen(1 << 16)
		srv := grpc.NewServer()
		src := newFake(sampleStatus(epoch))
		r := rig{src: src, statuses: register(srv, src)}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		client, hangUp := dialHealth(t, ln)
		r.client = client
		test(t, r)
		hangUp()
		srv.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func dialHealth(t *testing.T, ln *bufconn.Listener) (client healthpb.HealthClient, hangUp func()) {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///mem",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	return healthpb.NewHealthClient(cc), func() { _ = cc.Close() }
}

func (r rig) check(t *testing.T, service string, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	got, err := r.client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
	if err != nil || got.GetStatus() != want {
		t.Errorf("Check(%q) = %v, %v; want %v", service, got.GetStatus(), err, want)
	}
}

func (r rig) watch(t *testing.T, service string) (healthpb.Health_WatchClient, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := r.client.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return stream, cancel
}

func wantNext(t *testing.T, stream healthpb.Health_WatchClient, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	got, err := stream.Recv()
	if err != nil || got.GetStatus() != want {
		t.Fatalf("Watch sent %v, %v; want %v", got.GetStatus(), err, want)
	}
}

func TestCheckAndListFollowTheBalancer(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		r.statuses.SetServingStatus("hello", serving)
		r.check(t, "", serving)
		r.check(t, "hello", serving)
		r.src.stop()
		list, err := r.client.List(t.Context(), &healthpb.HealthListRequest{})
		if err != nil || len(list.GetStatuses()) != 2 {
			t.Fatalf("List = %v, %v; want 2 services", list, err)
		}
		for name, s := range list.GetStatuses() {
			if s.GetStatus() != notServing {
				t.Errorf("List: %q is %v after the stop", name, s.GetStatus())
			}
		}
		r.check(t, "", notServing)
		r.check(t, "hello", notServing)
	})
}

func TestUnknownServiceIsNotFound(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		for range 2 { // serving, and stopping
			_, err := r.client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nobody"})
			if status.Code(err) != codes.NotFound {
				t.Errorf("Check of an unknown service: %v, want NotFound", err)
			}
			r.src.stop()
		}
	})
}

func TestNothingBringsAStoppingPodBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		r.src.stop()
		r.check(t, "", notServing)
		r.statuses.SetServingStatus("", serving)
		r.check(t, "", notServing)
		r.statuses.Resume()
		r.check(t, "", notServing)
	})
}

// The streams are told while nobody calls anything.
func TestWatchIsToldWhenThePodStops(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		r.statuses.SetServingStatus("hello", serving)
		var streams []healthpb.Health_WatchClient
		for _, service := range []string{"", "hello", ""} {
			stream, cancel := r.watch(t, service)
			defer cancel()
			wantNext(t, stream, serving)
			streams = append(streams, stream)
		}
		r.src.stop()
		for _, stream := range streams {
			wantNext(t, stream, notServing)
		}
		late, cancel := r.watch(t, "hello")
		defer cancel()
		wantNext(t, late, notServing)
	})
}

// The waiting ends with the last Watch and begins again with the next one.
func TestWatchAgainAfterTheLastHasGone(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		for range 3 {
			stream, cancel := r.watch(t, "")
			wantNext(t, stream, serving)
			cancel()
			synctest.Wait()
		}
		stream, cancel := r.watch(t, "")
		defer cancel()
		wantNext(t, stream, serving)
		r.src.stop()
		wantNext(t, stream, notServing)
	})
}

func TestWatchPassesOnWhatTheUserSets(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		stream, cancel := r.watch(t, "hello")
		defer cancel()
		wantNext(t, stream, healthpb.HealthCheckResponse_SERVICE_UNKNOWN)
		r.statuses.SetServingStatus("hello", serving)
		wantNext(t, stream, serving)
	})
}

func TestEveryCallIsSeen(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		r.check(t, "", serving)
		if _, err := r.client.List(t.Context(), &healthpb.HealthListRequest{}); err != nil {
			t.Fatal(err)
		}
		stream, cancel := r.watch(t, "")
		defer cancel()
		wantNext(t, stream, serving)
		if got := r.src.seen.Load(); got != 3 {
			t.Errorf("Seen was called %d times for Check, List and Watch, want 3", got)
		}
	})
}

// One goroutine waits, however many streams are open.
func TestOneGoroutineForAllWatches(t *testing.T) {
	s := &service{Server: grpchealth.NewServer(), src: newFake(sampleStatus(epoch))}
	s.enter()
	first := s.idle
	for range 100 {
		s.enter()
	}
	if s.idle != first {
		t.Error("a second wait was started while the first was on")
	}
	for range 100 {
		s.leave()
	}
	select {
	case <-first:
		t.Error("the wait ended with a Watch still open")
	default:
	}
	s.leave()
	<-first
}

func TestCheckAllocatesNoMoreThanGRPCsOwn(t *testing.T) {
	s := &service{Server: grpchealth.NewServer(), src: newFake(sampleStatus(epoch))}
	in := &healthpb.HealthCheckRequest{}
	ours := testing.AllocsPerRun(100, func() { _, _ = s.Check(t.Context(), in) })
	bare := testing.AllocsPerRun(100, func() { _, _ = s.Server.Check(t.Context(), in) })
	if ours > bare {
		t.Errorf("Check allocates %v times, grpc's own %v", ours, bare)
	}
}

func TestRegisterOffersTheWholeService(t *testing.T) {
	srv := grpc.NewServer()
	register(srv, newFake(sampleStatus(epoch)))
	var methods []string
	for _, m := range srv.GetServiceInfo()["grpc.health.v1.Health"].Methods {
		methods = append(methods, m.Name)
	}
	slices.Sort(methods)
	if !slices.Equal(methods, []string{"Check", "List", "Watch"}) {
		t.Errorf("methods = %v", methods)
	}
}
