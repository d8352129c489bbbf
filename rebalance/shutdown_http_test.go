package rebalance

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/internal/h1conn"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
)

// browser is an HTTP/1.1 client that requests once every pause.
type browser struct {
	conn   *h1conn.Conn
	closed chan struct{} // once an answer has closed its connection
}

func browse(t *testing.T, b *Balancer, pause time.Duration) *browser {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { _ = client.Close() })
	_, auth, _ := insecure.NewCredentials().ServerHandshake(server)
	w := &browser{conn: inside.Of(b).TrackHTTP1(server, auth), closed: make(chan struct{})}
	go func() {
		defer close(w.closed)
		for {
			w.conn.Begin()
			w.conn.Used(h2conn.InUse)
			last := w.conn.Last()
			if last {
				_ = w.conn.Close()
				return
			}
			w.conn.End()
			select {
			case <-time.After(pause):
			case <-t.Context().Done():
				return
			}
		}
	}()
	return w
}

// net/http closes idle connections when it stops, which can cross a request. So a client that
// requests now and then learns of the drain by an answer first. An idle one is not waited for.
func TestShutdownAwaitsAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		pause  time.Duration
		closed bool
	}{
		"busy": {time.Second, true},
		"idle": {time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := started(t, nil, nil)
				w := browse(t, b, tc.pause)
				time.Sleep(2 * time.Minute)
				srv := &slowServer{b: b, stopped: make(chan struct{})}
				begun := time.Now()
				if err := b.Shutdown(t.Context(), srv); err != nil {
					t.Error(err)
				}
				closed := false
				select {
				case <-w.closed:
					closed = true
				default:
				}
				if closed != tc.closed {
					t.Errorf("an answer has closed the connection before the server stops: %v, want %v", closed, tc.closed)
				}
				if took := srv.graceful.Sub(begun); took > 4*time.Second {
					t.Errorf("GracefulStop after %v", took)
				}
				_ = w.conn.Close()
			})
		})
	}
}
