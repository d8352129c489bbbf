package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDNS answers at once with the result that was set.
type fakeDNS struct {
	mu      sync.Mutex
	addrs   []netip.Addr
	targets []lookup.Target
	err     error
}

func (f *fakeDNS) Addrs(context.Context, string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.addrs), f.err
}

func (f *fakeDNS) SRV(context.Context, string) ([]lookup.Target, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.targets), f.err
}

func (f *fakeDNS) set(err error, list ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.addrs = err, addrs(list...)
}

func addrs(texts ...string) []netip.Addr {
	list := make([]netip.Addr, len(texts))
	for i, s := range texts {
		list[i] = netip.MustParseAddr(s)
	}
	return list
}

type seen struct {
	at   time.Time
	view peers.Membership
}

// run runs a Source with fake for d of virtual time and returns its reports.
func run(t *testing.T, fake *fakeDNS, opts Options, d time.Duration, during func()) []seen {
	t.Helper()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.resolver = fake
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if during != nil {
		go during()
	}
	var all []seen
	err = s.Run(ctx, func(m peers.Membership) { all = append(all, seen{time.Now(), m}) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run returned %v, want %v", err, context.DeadlineExceeded)
	}
	return all
}

// members returns the members of a view as text.
func members(m peers.Membership) string {
	var parts []string
	for _, one := range m.Members {
		if one.Port != 0 || one.Pod != "" || one.Terminating {
			return fmt.Sprintf("member %+v has what DNS cannot know", one)
		}
		parts = append(parts, fmt.Sprintf("%v unproven=%v", one.Addrs, one.Unproven))
	}
	return strings.Join(parts, "; ")
}

func TestEachAnswerIsReportedEvenUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeDNS{addrs: addrs("10.0.0.1", "10.0.0.2", "fd00::1")}
		start := time.Now()
		all := run(t, fake, Options{Name: "hello.test", Interval: time.Second}, time.Minute, nil)
		if len(all) < 60*10/11 || len(all) > 60*10/9+1 {
			t.Fatalf("%d reports in a minute, want one a second", len(all))
		}
		if all[0].at != start {
			t.Error("the first lookup was not at once")
		}
		gaps := map[time.Duration]bool{}
		for i, s := range all {
			want := "[10.0.0.1] unproven=false; [10.0.0.2] unproven=false; [fd00::1] unproven=false"
			if s.view.Err != nil || members(s.view) != want {
				t.Fatalf("report %d: %+v", i, s.view)
			}
			if i > 0 {
				gap := s.at.Sub(all[i-1].at)
				gaps[gap] = true
				if gap < 900*time.Millisecond || gap > 1100*time.Millisecond {
					t.Errorf("%v between reports", gap)
				}
			}
		}
		if len(gaps) < 2 {
			t.Error("all gaps are equal, so the lookups of all pods would stay in step")
		}
	})
}

func TestAnAnswerWithoutAnyPodIsAnError(t *testing.T) {
	broken := errors.New("SERVFAIL")
	for name, tc := range map[string]struct {
		fake *fakeDNS
		name string
		want string
	}{
		"failure":       {&fakeDNS{err: broken, addrs: addrs("10.0.0.1")}, "hello.test", "SERVFAIL"},
		"empty":         {&fakeDNS{}, "hello.test", `DNS has no addresses for name "hello.test"`},
		"blocked":       {&fakeDNS{addrs: addrs("0.0.0.0", "::", "224.0.0.1")}, "hello.test", "no addresses"},
		"SRV failure":   {&fakeDNS{err: broken}, "_grpc._tcp.hello.test", "SERVFAIL"},
		"SRV empty":     {&fakeDNS{}, "_grpc._tcp.hello.test", "no addresses"},
		"SRV all gone":  {&fakeDNS{targets: []lookup.Target{{Host: "a"}}}, "_grpc._tcp.hello.test", "no addresses"},
		"SRV blackhole": {&fakeDNS{targets: []lookup.Target{{Host: "a", Addrs: addrs("0.0.0.0")}}}, "_x._tcp.t", "no addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := run(t, tc.fake, Options{Name: tc.name}, 10*time.Second, nil)
				if len(all) < 4 {
					t.Fatalf("%d reports in 10 s, want each failure to be reported", len(all))
				}
				for _, s := range all {
					if s.view.Err == nil || !strings.Contains(s.view.Err.Error(), tc.want) || len(s.view.Members) != 0 {
						t.Fatalf("got %+v, want an error that contains %q", s.view, tc.want)
					}
				}
			})
		})
	}
}

// Clients are assumed to resolve the name of the source, unless it is on a server of its own.
func TestClientName(t *testing.T) {
	for _, tc := range []struct {
		opts Options
		want string
	}{
		{Options{Name: "hello.test"}, "hello.test"},
		{Options{Name: "hello.test", Server: "198.18.0.1"}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			all := run(t, &fakeDNS{addrs: addrs("10.0.0.1")}, tc.opts, time.Second, nil)
			if got := all[0].view.ClientName; got != tc.want {
				t.Errorf("%+v: ClientName is %q, want %q", tc.opts, got, tc.want)
			}
		})
	}
}

func TestSRVTargetsArePods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeDNS{targets: []lookup.Target{
			{Host: "a", Port: 50051, Addrs: addrs("10.0.0.1", "fd00::1")},
			{Host: "a", Port: 50052, Addrs: addrs("10.0.0.1", "fd00::1")}, // another port
			{Host: "b", Port: 50051, Addrs: addrs("10.0.0.2")},
			{Host: "gone", Port: 50051},
			{Host: "many", Port: 50051, Addrs: addrs("10.0.0.2", "10.0.0.3", "10.0.0.4")},
		}}
		all := run(t, fake, Options{Name: "_grpc._tcp.hello.test", Unproven: true}, time.Second, nil)
		want := "[10.0.0.1 fd00::1] unproven=true; [10.0.0.2] unproven=true; " +
			"[10.0.0.3] unproven=true; [10.0.0.4] unproven=true"
		if got := members(all[0].view); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestOnlyChangesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeDNS{addrs: addrs("10.0.0.1")}
		var log bytes.Buffer
		opts := Options{Name: "hello.test", Logger: slog.New(slog.NewTextHandler(&log, nil))}
		run(t, fake, opts, time.Minute, func() {
			time.Sleep(20 * time.Second)
			fake.set(errors.New("SERVFAIL"))
			time.Sleep(20 * time.Second)
			fake.set(nil, "10.0.0.1", "10.0.0.2")
		})
		if n := strings.Count(log.String(), "\n"); n != 3 {
			t.Errorf("%d lines logged, want 3:\n%s", n, log.String())
		}
	})
}

func TestOptions(t *testing.T) {
	s, err := New(Options{Name: "hello.test", Server: "127.0.0.1:5353", Interval: MinInterval})
	if err != nil || s.String() != "dns hello.test at 127.0.0.1:5353" {
		t.Errorf("got %v, %v", s, err)
	}
	s, err = New(Options{Name: "hello.test"})
	if err != nil || s.String() != "dns hello.test" {
		t.Errorf("got %v, %v", s, err)
	}
	_, err = New(Options{Server: "a:b:c", Interval: -time.Second})
	for _, want := range []string{"the name is empty", "interval -1s", `"a:b:c"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not contain %q", err, want)
		}
	}
}
