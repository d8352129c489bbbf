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
	const many, atOnce = 1000, 256
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		stuck := false
		all := make([]net.Conn, many)
		for i := range all {
			all[i] = r.Add(deaf{stub{addr: &net.TCPAddr{}}, &sync.Once{}, make(chan struct{}), &stuck}, "k")
			_ = http2.NewFramer(all[i], nil).WriteSettings()
			FromAddr(all[i].RemoteAddr()).OnUse(h2conn.Ready)
		}
		time.Sleep(sparedFor)
		stuck = true
		before := runtime.NumGoroutine()
		done := make(chan int)
		go func() { done <- r.DrainAll(t.Context(), reason.Manual, "all", 0) }()
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > atOnce+10 {
			t.Errorf("%d goroutines for %d clients that do not read, want at most %d", n, many, atOnce+10)
		}
		begun := time.Now()
		if n := <-done; n != many {
			t.Errorf("drained %d connections, want %d", n, many)
		}
		if took := time.Since(begun); took > many/atOnce*drainPatience {
			t.Errorf("DrainAll took %v beside clients that do not read", took)
		}
		for _, nc := range all {
			_ = nc.Close()
		}
	})
}

// A client that has just dialed gets to send its first request.
func TestYoungConnectionsAreSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		young, calling, old := ready(r, "k"), add(r, "k"), ready(r, "k")
		old.opened -= sparedFor
		if n := r.DrainAll(t.Context(), reason.Manual, "all", 0); n != 3 {
			t.Errorf("drained %d connections, want 3", n)
		}
		if isDraining(young) || !isDraining(calling) || !isDraining(old) {
			t.Errorf("drained at once: young %t, calling %t, old %t; want all but the young one",
				isDraining(young), isDraining(calling), isDraining(old))
		}
		time.Sleep(sparedFor)
		synctest.Wait()
		if !isDraining(young) {
			t.Error("the young connection was never drained")
		}
		for _, c := range []*Conn{young, calling, old} {
			c.OnClose(h2conn.Clean)
		}
	})
}

func isDraining(c *Conn) bool {
	c.reg.mu.Lock()
	defer c.reg.mu.Unlock()
	return c.drain != nil
}
