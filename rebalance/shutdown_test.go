package rebalance

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
)

// slowServer takes a while to stop gracefully.
type slowServer struct {
	b        *Balancer
	takes    time.Duration
	graceful time.Time
	draining int // then
	stopped  chan struct{}
}

func (s *slowServer) GracefulStop() {
	s.graceful, s.draining = time.Now(), s.b.Status().Draining
	select {
	case <-time.After(s.takes):
	case <-s.stopped:
	}
}

func (s *slowServer) Stop() { close(s.stopped) }

func TestShutdown(t *testing.T) {
	for name, tc := range map[string]struct {
		takes   time.Duration
		forgets time.Duration // when the source forgets the pod; 0: never
		least   time.Duration // before GracefulStop
		idle    bool          // nobody is connected
		err     error
	}{
		"clean":       {takes: time.Second, forgets: 3 * time.Second, least: 3 * time.Second},
		"remembered":  {takes: time.Second, least: 10 * time.Second}, // a third of 30 s, no longer
		"long stream": {takes: time.Hour, forgets: time.Second, least: time.Second, err: context.DeadlineExceeded},
		"idle":        {forgets: 3 * time.Second, least: 3 * time.Second, idle: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{renew: true}
				b := started(t, src, nil)
				src.set(pods("198.18.0.1", "198.18.0.2"))
				connected := 0
				if !tc.idle {
					visitor(t, b)
					connected = 1
				}
				if tc.forgets > 0 {
					time.AfterFunc(tc.forgets, func() { src.set(pods("198.18.0.2")) })
				}
				srv := &slowServer{b: b, takes: tc.takes, stopped: make(chan struct{})}
				begin := time.Now()
				err := b.Shutdown(t.Context(), srv)
				if !errors.Is(err, tc.err) {
					t.Errorf("error %v, want %v", err, tc.err)
				}
				if waited := srv.graceful.Sub(begin); waited < tc.least || waited > tc.least+11*time.Second {
					t.Errorf("GracefulStop after %v, want a lame duck of %v and the spread", waited, tc.least)
				}
				if took := time.Since(begin); took > 30*time.Second {
					t.Errorf("took %v, more than shutdown.timeout", took)
				}
				if b.ready() || srv.draining != connected {
					t.Errorf("ready %v, %d draining", b.ready(), srv.draining)
				}
			})
		})
	}
}

// A pod that does not know its address, or only the one of a family that the Service does not
// have, also waits until it is forgotten.
// Without Run nobody learns that the source has forgotten this pod. DNS is asked by Shutdown
// itself.
// A load balancer that deregisters slowly sends clients for shutdown.minimum. The pod serves
// on for that long, even if nothing lists it, and drains within the rest of the time.
// A client whose resolver rests comes back to the pod that drained it, since it knows no
// other. The pod serves it until the client has resolved again.
func TestShutdownServesReturningClients(t *testing.T) {
	for name, tc := range map[string]struct {
		name  string        // what clients resolve
		stays time.Duration // until its resolver has looked
		stops time.Duration // when the listener may close, at the latest and nearly at the earliest
	}{
		"learns in time": {name: "hello.test", stays: 15 * time.Second, stops: 15 * time.Second},
		"never learns":   {name: "hello.test", stays: time.Hour, stops: 27 * time.Second},
		"no DNS":         {stays: time.Hour, stops: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{renew: true}
				b := gated(t, src, &zone{}, tc.name)
				src.set(pods("198.18.0.2"))
				visitor(t, b)
				go func() {
					<-b.Stopping()
					for b.Status().Draining == 0 {
						time.Sleep(time.Millisecond)
					}
					back, server := net.Pipe()
					conn := inside.Of(b).Track(server, nil)
					begin(conn, h2conn.Ready)
					defer back.Close()
					defer conn.Close()
					select {
					case <-time.After(tc.stays):
					case <-t.Context().Done():
					}
				}()
				srv := &slowServer{b: b, takes: time.Second, stopped: make(chan struct{})}
				begun := time.Now()
				if err := b.Shutdown(t.Context(), srv); err != nil {
					t.Error(err)
				}
				if took := srv.graceful.Sub(begun); took > tc.stops+2*time.Second || took < tc.stops-time.Second {
					t.Errorf("stopped serving after %v, want about %v", took, tc.stops)
				}
			})
		})
	}
}

// A client may close its drained connection before its next one has come, or before that has
// spoken. For a moment the pod has no connection then, and must serve on.
func TestShutdownWaitsForTheNextConnection(t *testing.T) {
	const stays = 15 * time.Second
	for name, tc := range map[string]struct{ dials, speaks time.Duration }{
		"dials late":  {dials: 500 * time.Millisecond},
		"speaks late": {speaks: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{renew: true}
				b := gated(t, src, &zone{}, "hello.test")
				src.set(pods("198.18.0.2"))
				_, server := net.Pipe()
				old := inside.Of(b).Track(server, nil)
				begin(old, h2conn.InUse)
				go func() {
					<-conns.FromAddr(old.RemoteAddr()).Draining()
					_ = old.Close()
					time.Sleep(tc.dials)
					_, server := net.Pipe()
					back := inside.Of(b).Track(server, nil)
					time.Sleep(tc.speaks)
					begin(back, h2conn.InUse)
					time.Sleep(stays)
					_ = back.Close()
				}()
				srv := &slowServer{b: b, stopped: make(chan struct{})}
				begun := time.Now()
				if err := b.Shutdown(t.Context(), srv); err != nil {
					t.Error(err)
				}
				if took := srv.graceful.Sub(begun); took < stays {
					t.Errorf("stopped serving after %v, want at least %v", took, stays)
				}
			})
		})
	}
}

// A connection on which nobody speaks is no client that came back.
func TestSilentConnectionIsNotServedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := gated(t, src, &zone{}, "hello.test")
		src.set(pods("198.18.0.2"))
		_, server := net.Pipe()
		defer inside.Of(b).Track(server, nil).Close()
		time.Sleep(time.Minute)
		srv := &slowServer{b: b, stopped: make(chan struct{})}
		begun := time.Now()
		if err := b.Shutdown(t.Context(), srv); err != nil {
			t.Error(err)
		}
		if took := srv.graceful.Sub(begun); took > 3*time.Second {
			t.Errorf("stopped serving after %v, for a connection that is silent", took)
		}
	})
}

func TestMomentsAreWithinTheWindow(t *testing.T) {
	last := time.Duration(-1)
	for _, m := range momentsIn(time.Second, 1000) {
		if m < last || m >= time.Second {
			t.Fatalf("moment %v after %v", m, last)
		}
		last = m
	}
}

// Several servers of one Balancer are stopped together.
func TestShutdownOfSeveralServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, &hand{renew: true}, nil)
		quick := &slowServer{b: b, takes: time.Second, stopped: make(chan struct{})}
		stuck := &slowServer{b: b, takes: time.Hour, stopped: make(chan struct{})}
		if err := b.Shutdown(t.Context(), quick, stuck); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that the time was over", err)
		}
		if quick.graceful.IsZero() || !quick.graceful.Equal(stuck.graceful) {
			t.Errorf("GracefulStop of the servers at %v and %v", quick.graceful, stuck.graceful)
		}
		synctest.Wait()
		for _, srv := range []*slowServer{quick, stuck} {
			select {
			case <-srv.stopped:
			default:
				t.Error("a server was not stopped at the end of the time")
			}
		}
	})
}

// A second call waits for the first and returns its result: main must not exit in the
// middle of a stop.
func TestSecondShutdownWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, &hand{renew: true}, nil)
		first := make(chan error, 1)
		go func() {
			first <- b.Shutdown(t.Context(), &slowServer{b: b, takes: time.Hour, stopped: make(chan struct{})})
		}()
		<-b.Stopping()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second call whose context ends: %v", err)
		}
		err := b.Shutdown(t.Context())
		select {
		case want := <-first:
			if !errors.Is(err, context.DeadlineExceeded) || err.Error() != want.Error() {
				t.Errorf("the second call returned %v, the first %v", err, want)
			}
		default:
			t.Error("the second call returned before the first")
		}
		if again := b.Shutdown(t.Context()); again == nil || again.Error() != err.Error() {
			t.Errorf("a third call: %v", again)
		}
	})
}

// A second call stops the servers that the first did not have: together with the others, and
// with the same end.
func TestSecondShutdownStopsItsOwnServers(t *testing.T) {
	for name, tc := range map[string]struct {
		takes  time.Duration // of the server of the second call
		after  time.Duration // when it comes
		begins time.Duration // when GracefulStop of that server comes
		ends   time.Duration
		err    error
	}{
		"while the first waits": {takes: 2 * time.Second, after: 2 * time.Second, begins: 10 * time.Second, ends: 12 * time.Second},
		"at the end":            {takes: 2 * time.Second, after: 20 * time.Second, begins: 20 * time.Second, ends: 22 * time.Second},
		"too slow":              {takes: time.Hour, after: 20 * time.Second, begins: 20 * time.Second, ends: 30 * time.Second, err: context.DeadlineExceeded},
		"too late":              {takes: time.Hour, after: time.Minute, begins: time.Minute, ends: time.Minute, err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{renew: true}
				b := started(t, src, nil)
				src.set(pods("198.18.0.1", "198.18.0.2"))
				one := &slowServer{b: b, takes: time.Second, stopped: make(chan struct{})}
				two := &slowServer{b: b, takes: tc.takes, stopped: make(chan struct{})}
				begun := time.Now()
				go b.Shutdown(t.Context(), one)
				time.Sleep(tc.after)
				if err := b.Shutdown(t.Context(), one, two); !errors.Is(err, tc.err) {
					t.Errorf("the second call returned %v, want %v", err, tc.err)
				}
				if at := two.graceful.Sub(begun).Round(time.Second); at != tc.begins {
					t.Errorf("GracefulStop of the second server after %v, want %v", at, tc.begins)
				}
				if at := time.Since(begun).Round(time.Second); at != tc.ends {
					t.Errorf("the second call returned after %v, want %v", at, tc.ends)
				}
				synctest.Wait()
			})
		})
	}
}

// slice is a server that cannot be compared with another.
type slice []*slowServer

func (s slice) GracefulStop() { s[0].GracefulStop() }
func (s slice) Stop()         { s[0].Stop() }

func TestServersThatCannotBeCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, &hand{renew: true}, nil)
		for range 2 {
			srv := slice{{b: b, takes: time.Second, stopped: make(chan struct{})}}
			if err := b.Shutdown(t.Context(), srv); err != nil || srv[0].graceful.IsZero() {
				t.Errorf("Shutdown returned %v, GracefulStop at %v", err, srv[0].graceful)
			}
		}
	})
}

// A program that waits for the context of its signals and then stops with that same context
// stops gracefully all the same, and is told.
func TestShutdownWithAContextThatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged strings.Builder
		b, err := New(config.Default(), WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("SIGTERM"))
		srv := &slowServer{b: b, takes: 5 * time.Second, stopped: make(chan struct{})}
		begun := time.Now()
		if err := b.Shutdown(ctx, srv); err != nil {
			t.Errorf("Shutdown returned %v after %v", err, time.Since(begun))
		}
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("Shutdown took %v, want the 5 s of the server", took)
		}
		for _, part := range []string{"level=WARN", "context.Background()", "cause=SIGTERM"} {
			if !strings.Contains(logged.String(), part) {
				t.Errorf("the log has no %q:\n%s", part, &logged)
			}
		}
		endless := &slowServer{b: b, takes: time.Hour, stopped: make(chan struct{})}
		if err := b.Shutdown(ctx, endless); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown of a server that does not end returned %v", err)
		}
	})
}

// A context that ends during the call still cuts off.
func TestShutdownWithAContextThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, &hand{renew: true}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		begun := time.Now()
		srv := &slowServer{b: b, takes: time.Hour, stopped: make(chan struct{})}
		if err := b.Shutdown(ctx, srv); !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown returned %v", err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("Shutdown took %v, want 3 s", took)
		}
	})
}

// A Balancer without a server stops, too: it drains what it tracks.
func TestShutdownWithoutServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, &hand{renew: true}, nil)
		visitor(t, b)
		time.Sleep(time.Second) // younger connections are spared
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if n := b.Status().Draining; n != 1 {
			t.Errorf("%d connections are drained, want 1", n)
		}
	})
}
