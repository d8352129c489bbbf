package h1conn

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

// The grace bounds how long a drained connection lives: one with a request is cut off, one that
// waits for its client is closed.
func TestGrace(t *testing.T) {
	for name, tc := range map[string]struct {
		open bool
		want h2conn.How
	}{
		"with a request": {true, h2conn.Forced},
		"idle":           {false, h2conn.Clean},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nc, obs := &pipe{}, &spy{}
				c := New(nc, obs)
				c.Begin()
				if !tc.open {
					c.End()
				}
				c.Drain("", time.Minute)()
				time.Sleep(time.Minute - time.Millisecond)
				synctest.Wait()
				if closed, _ := obs.ended(); closed {
					t.Fatal("closed before the end of the grace")
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if closed, how := obs.ended(); !closed || how != tc.want {
					t.Errorf("closed %v, %v; want %v", closed, how, tc.want)
				}
			})
		})
	}
}

// A drained connection that ends takes its grace with it.
func TestGraceEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		c := New(&pipe{}, &spy{})
		c.Drain("", time.Hour)()
		_ = c.Close() // a timer that is left would keep the bubble busy
	})
}

// Nobody pays for the channel of Draining before somebody wants it, and it works at any time.
func TestDraining(t *testing.T) {
	for name, drain := range map[string]func(*Conn){
		"drained": func(c *Conn) { c.Drain("", 0)() },
		"closed":  func(c *Conn) { _ = c.Close() },
	} {
		before, after := New(&pipe{}, &spy{}), New(&pipe{}, &spy{})
		if before.drain != nil {
			t.Error("a new connection has the state of a drain")
		}
		early := before.Draining()
		drain(before)
		drain(after)
		called := make(chan struct{})
		after.AfterDraining(func() { close(called) })
		for _, c := range []<-chan struct{}{early, after.Draining(), called} {
			select {
			case <-c:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: not notified", name)
			}
		}
	}
}

// Shutdown closes connections on which nobody has spoken.
func TestCloseSilent(t *testing.T) {
	nc := &pipe{}
	c := New(nc, &spy{})
	c.Begin()
	if c.CloseSilent() || nc.closed != 0 {
		t.Error("a connection with a request was closed")
	}
	if c = New(nc, &spy{}); !c.CloseSilent() || c.CloseSilent() || nc.closed != 1 {
		t.Errorf("a silent connection was closed %d times, want 1", nc.closed)
	}
}
