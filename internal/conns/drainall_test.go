package conns

import (
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// deaf is a connection whose client does not read. Its writes block until it is closed.
type deaf struct {
	stub

	once   *sync.Once
	closed chan struct{}
	stuck  *bool // writes block once this is true
}

func (d deaf) Write(p []byte) (int, error) {
	if !*d.stuck {
		return len(p), nil
	}
	<-d.closed
	return 0, net.ErrClosed
}

func (d deaf) Close() error { d.once.Do(func() { close(d.closed) }); return nil }

// Draining many connections takes a bounded number of goroutines, and clients that do not read
// hold up nobody for long.
func TestDrainAllAtOnce(t *testing.T) {
	const many = 1000
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		stuck := false
		all := make([]net.Conn, many)
		for i := range all {
			all[i] = r.Add(deaf{stub{addr: &net.TCPAddr{}}, &sync.Once{}, make(chan struct{}), &stuck}, "k")
			_ = http2.NewFramer(all[i], nil).WriteSettings()
			FromAddr(all[i].RemoteAddr()).OnUse(h2conn.Ready)
		}
		stuck = true
		before := runtime.NumGoroutine()
		done := make(chan int)
		go func() { done <- r.DrainAll(t.Context(), reason.Manual, "all", 0) }()
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > drainsAtOnce+10 {
			t.Errorf("%d goroutines for %d clients that do not read, want at most %d", n, many, drainsAtOnce+10)
		}
		begun := time.Now()
		if n := <-done; n != many {
			t.Errorf("drained %d connections, want %d", n, many)
		}
		if took := time.Since(begun); took > many/drainsAtOnce*drainPatience {
			t.Errorf("DrainAll took %v beside clients that do not read", took)
		}
		for _, nc := range all {
			_ = nc.Close()
		}
	})
}
