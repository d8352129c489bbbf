package live

import (
	"io"
	"net"
	"testing"
	"time"
)

// A request of HTTP/1.1 comes to the gRPC port, as from a person with curl or a cloud's health
// check. It leaves no condition behind.
func TestHTTP1RequestToGRPCPort(t *testing.T) {
	t.Parallel()
	s := newService(t, 8, exampleServer)
	s.grow(t, 2)
	cs := start(t, 4, "round_robin", s.target(), false, from(8, 1))
	cs.awaitAnswers(t)
	s.settle(t)
	nc, err := net.DialTimeout("tcp", s.pods[0].GRPC(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: pod\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(nc)
	t.Logf("the answer is %q, %v", answer, err)
	var shown time.Duration
	begun := time.Now()
	during(15*time.Second, func() {
		if st := status(t, s.pods[0]); len(st.Conditions) > 0 {
			shown = time.Since(begun)
		}
	})
	st := status(t, s.pods[0])
	t.Logf("a condition was last shown after %v; now %d connections, conditions %v", shown, st.Connections, st.Conditions)
	if len(st.Conditions) > 0 || shown > 5*time.Second {
		t.Errorf("a condition was shown for %v, and now: %v", shown, st.Conditions)
	}
	if st.Connections != len(cs.all) {
		t.Errorf("%d connections are counted, want those of the %d clients", st.Connections, len(cs.all))
	}
	cs.check(t)
}
