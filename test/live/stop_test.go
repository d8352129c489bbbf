package live

import (
	"context"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// stopsWithin is how long a process may go on after its last RPC.
const stopsWithin = 2 * time.Second

// Clients watch the health of a pod that is told to stop: one on a channel of its own, one
// beside a stream. The pod ends soon after the stream, and does not wait for them.
func TestStopWithOpenHealthWatch(t *testing.T) {
	t.Parallel()
	s := newService(t, 9, politeServer, "-set", "shutdown.timeout=30s")
	s.grow(t, 2)
	p := s.pod("pod-2")
	used := dial(t, "passthrough:///"+p.GRPC(), "pick_first", from(9, 1)(0))
	defer used.Close()
	other := dial(t, "passthrough:///"+p.GRPC(), "pick_first", from(9, 2)(0))
	defer other.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	stream, err := hellov1.NewHelloServiceClient(used).Watch(ctx, &hellov1.HiRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []healthpb.HealthClient{healthpb.NewHealthClient(used), healthpb.NewHealthClient(other)} {
		w, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("the pod's health is %v, %v; want SERVING", got, err)
		}
		go func() { // reads to the end, as clients that check health do
			for err == nil {
				_, err = w.Recv()
			}
		}()
	}
	begun := time.Now()
	p.Terminate()
	s.takeOut("pod-2")
	for time.Since(begun) < 6*time.Second { // the lame duck, the drains and GracefulStop
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("the stream ended with %v after %v, want it to go on", err, time.Since(begun))
		}
	}
	if p.Exited() {
		t.Fatal("the pod ended before its last RPC")
	}
	hangUp()
	last := time.Now()
	select {
	case <-p.Done():
	case <-time.After(40 * time.Second):
		t.Fatal("the pod has not ended")
	}
	took := time.Since(last)
	t.Logf("the pod ended %v after its last RPC, %v after SIGTERM", took.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if took > stopsWithin {
		t.Errorf("that took %v, want at most %v", took, stopsWithin)
	}
	if code := p.ExitCode(); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	s.remove(p)
}
