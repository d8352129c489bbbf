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

// rig is a real gRPC server in memory with only the health service.
type rig struct {
	src      *fake
	statuses *grpchealth.Server
	client   healthpb.HealthClient
}

// inBubble runs a test against a rig. The bubble fails the test if any goroutine is left at
// its end, including those of this package.
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
		t.Errorf("Check(%q): got %v, %v; want %v", service, got.GetStatus(), err, want)
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
		t.Fatalf("Watch: got %v, %v; want %v", got.GetStatus(), err, want)
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
			t.Fatalf("List: got %v, %v; want 2 services", list, err)
		}
		for name, s := range list.GetStatuses() {
			if s.GetStatus() != notServing {
				t.Errorf("List after the stop: got %v for %q, want NOT_SERVING", s.GetStatus(), name)
			}
		}
		r.check(t, "", notServing)
		r.check(t, "hello", notServing)
	})
}

func TestUnknownServiceIsNotFound(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		for range 2 { // first serving, then stopping
			_, err := r.client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nobody"})
			if status.Code(err) != codes.NotFound {
				t.Errorf("Check of an unknown service: got %v, want NotFound", err)
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

// Open streams are notified although no call comes in.
func TestWatchIsNotifiedWhenThePodStops(t *testing.T) {
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

// The goroutine ends with the last Watch; the next one starts it again.
func TestWatchAfterTheLastHasEnded(t *testing.T) {
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

func TestWatchReportsStatusesOfTheUser(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		stream, cancel := r.watch(t, "hello")
		defer cancel()
		wantNext(t, stream, healthpb.HealthCheckResponse_SERVICE_UNKNOWN)
		r.statuses.SetServingStatus("hello", serving)
		wantNext(t, stream, serving)
	})
}

func TestEveryCallIsChecked(t *testing.T) {
	inBubble(t, func(t *testing.T, r rig) {
		r.check(t, "", serving)
		if _, err := r.client.List(t.Context(), &healthpb.HealthListRequest{}); err != nil {
			t.Fatal(err)
		}
		stream, cancel := r.watch(t, "")
		defer cancel()
		wantNext(t, stream, serving)
		if got := r.src.seen.Load(); got != 3 {
			t.Errorf("got %d calls of Seen for Check, List and Watch, want 3", got)
		}
	})
}

// One goroutine waits, however many streams are open.
func TestOneGoroutineForAllWatches(t *testing.T) {
	s := &service{Server: grpchealth.NewServer(), src: newFake(sampleStatus(epoch))}
	all := make([]watch, 101)
	s.beginWatch(&all[0])
	first := s.idle
	for i := range all[1:] {
		s.beginWatch(&all[i+1])
	}
	if s.idle != first {
		t.Error("a second goroutine started while the first was waiting")
	}
	for i := range all[1:] {
		s.endWatch(&all[i+1])
	}
	select {
	case <-first:
		t.Error("the goroutine ended while a Watch was open")
	default:
	}
	s.endWatch(&all[0])
	<-first
}

func TestCheckAllocatesNoMoreThanGRPCsOwn(t *testing.T) {
	s := &service{Server: grpchealth.NewServer(), src: newFake(sampleStatus(epoch))}
	in := &healthpb.HealthCheckRequest{}
	ours := testing.AllocsPerRun(100, func() { _, _ = s.Check(t.Context(), in) })
	bare := testing.AllocsPerRun(100, func() { _, _ = s.Server.Check(t.Context(), in) })
	if ours > bare {
		t.Errorf("Check: got %v allocations, want at most grpc's own %v", ours, bare)
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
		t.Errorf("got methods %v, want Check, List and Watch", methods)
	}
}
