package static

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDNS answers for some names, and counts the lookups of each.
type fakeDNS struct {
	mu      sync.Mutex
	names   map[string][]netip.Addr
	err     error
	hang    bool
	lookups map[string]int
}

func (f *fakeDNS) Addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	f.mu.Lock()
	f.lookups[name]++
	list, err, hang := slices.Clone(f.names[name]), f.err, f.hang
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (f *fakeDNS) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func addrs(texts ...string) []netip.Addr {
	list := make([]netip.Addr, len(texts))
	for i, s := range texts {
		list[i] = netip.MustParseAddr(s)
	}
	return list
}

// running records the views of a running Source, the newest last.
type running struct {
	mu    sync.Mutex
	views []peers.Membership
	at    []time.Time
}

func (r *running) report(m peers.Membership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.views, r.at = append(r.views, m), append(r.at, time.Now())
}

// times returns the times of the reports.
func (r *running) times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at)
}

// last returns the newest view as text.
func (r *running) last(t *testing.T) string {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.views) == 0 {
		t.Fatal("nothing was reported")
	}
	m := r.views[len(r.views)-1]
	if m.Err != nil {
		return "error: " + m.Err.Error()
	}
	var parts []string
	for _, one := range m.Members {
		if !one.Unproven || one.Terminating || one.Pod != "" {
			t.Errorf("member %+v has what a list cannot know", one)
		}
		parts = append(parts, fmt.Sprintf("%v:%d", one.Addrs, one.Port))
	}
	return strings.Join(parts, " ")
}

// warning returns that of the newest view.
func (r *running) warning() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.views[len(r.views)-1].Warning
}

// start runs a Source of list in the test's bubble, until the test ends.
func start(t *testing.T, dns *fakeDNS, list ...string) *running {
	t.Helper()
	s, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	dns.lookups = make(map[string]int)
	s.resolver = dns
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	r := &running{}
	go func() { done <- s.Run(ctx, r.report) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v, want %v", err, context.Canceled)
		}
	})
	return r
}

func bubble(t *testing.T, f func(t *testing.T, dns *fakeDNS)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, &fakeDNS{names: map[string][]netip.Addr{}}) })
}

func TestAddressesAreReportedAtOnceAndRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, dns *fakeDNS) {
		begin := time.Now()
		r := start(t, dns, "10.0.0.1", "10.0.0.2:8081", "fd00::1", "[fd00::2]", "[fd00::3]:8082", "::ffff:10.0.0.3", "10.0.0.1")
		want := "[10.0.0.1]:0 [10.0.0.2]:8081 [fd00::1]:0 [fd00::2]:0 [fd00::3]:8082 [10.0.0.3]:0"
		if got := r.last(t); got != want || r.times()[0] != begin {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		time.Sleep(time.Minute)
		if got := r.last(t); got != want || len(r.times()) < 30 {
			t.Errorf("after a minute and %d reports: %s, want %s after at least 30", len(r.times()), got, want)
		}
		dns.set(func() {
			if len(dns.lookups) != 0 {
				t.Errorf("names were looked up: %v, want none", dns.lookups)
			}
		})
	})
}

func TestNamesAreResolvedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, dns *fakeDNS) {
		dns.names["both"] = addrs("10.0.0.1", "fd00::1")
		dns.names["many"] = addrs("10.0.0.2", "10.0.0.3")
		r := start(t, dns, "both:8081", "many", "10.0.0.3")
		if got, want := r.last(t), "[10.0.0.1 fd00::1]:8081 [10.0.0.2]:0 [10.0.0.3]:0"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		dns.set(func() { dns.names["both"] = addrs("10.0.0.9") })
		time.Sleep(33 * time.Second)
		if got, want := r.last(t), "[10.0.0.9]:8081 [10.0.0.2]:0 [10.0.0.3]:0"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		dns.set(func() {
			if n := dns.lookups["many"]; n != 2 {
				t.Errorf("%d lookups in 33 s, want 2", n)
			}
		})
	})
}

func TestANameThatFailsKeepsItsAddresses(t *testing.T) {
	for name, fail := range map[string]func(*fakeDNS){
		"failure":      func(f *fakeDNS) { f.err = errors.New("SERVFAIL") },
		"no such name": func(f *fakeDNS) { delete(f.names, "pod") },
		"no answer":    func(f *fakeDNS) { f.hang = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, dns *fakeDNS) {
				dns.names["pod"] = addrs("10.0.0.1")
				r := start(t, dns, "pod", "10.0.0.2")
				synctest.Wait()
				dns.set(func() { fail(dns) })
				time.Sleep(5 * time.Minute)
				if got, want := r.last(t), "[10.0.0.1]:0 [10.0.0.2]:0"; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				times := r.times()
				for i := 1; i < len(times); i++ {
					if gap := times[i].Sub(times[i-1]); gap > renew+timeout {
						t.Errorf("%v between reports, so the view would become stale", gap)
					}
				}
			})
		})
	}
}

func TestAListWithoutAnyAddressIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T, dns *fakeDNS) {
		dns.names["b"] = nil
		r := start(t, dns, "a", "b")
		if got := r.last(t); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, `"a"`) || !strings.Contains(got, `"b"`) {
			t.Errorf("got %s, want an error that names a and b", got)
		}
		dns.set(func() { dns.names["b"] = addrs("10.0.0.2") })
		time.Sleep(3 * time.Second) // a failed lookup is repeated before 30 s are over
		if got, want := r.last(t), "[10.0.0.2]:0"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestNew(t *testing.T) {
	for n, want := range map[int]string{1: "static (1 address)", 3: "static (3 addresses)"} {
		s, err := New(slices.Repeat([]string{"a"}, n))
		if err != nil || s.String() != want {
			t.Errorf("got %v, %v, want %s", s, err, want)
		}
	}
	for _, list := range [][]string{nil, {}, make([]string, maxEntries+1)} {
		if _, err := New(list); err == nil {
			t.Errorf("New accepted %d entries", len(list))
		}
	}
	bad := []string{"", "a b", "a:0", "10.0.0.1:99999", "0.0.0.0", "[::]:80", "224.0.0.1", "http://a", "a/b"}
	_, err := New(append(bad, "good"))
	for _, entry := range bad {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q: ", entry)) {
			t.Errorf("%v does not name %q", err, entry)
		}
	}
	if strings.Contains(fmt.Sprint(err), `"good"`) {
		t.Errorf("%v names the good entry", err)
	}
}

// Pods are told apart by their addresses, so one address cannot stand for several pods.
func TestOneAddressWithTwoPortsIsRefused(t *testing.T) {
	for _, list := range [][]string{
		{"10.0.0.1:8080", "10.0.0.2", "10.0.0.1:8081"},
		{"10.0.0.1", "10.0.0.1:8081"},
		{"[fd00::1]:1", "fd00:0::1"},
		{"pod:1", "POD:2"},
	} {
		_, err := New(list)
		if err == nil || !strings.Contains(err.Error(), list[0]+" and "+list[len(list)-1]+" are one address with two ports") {
			t.Errorf("%v: got %v, want an error that names the first and the last", list, err)
		}
	}
}

// What New cannot see, names that have an address in common, is a warning.
func TestNamesWithOneAddressAndTwoPorts(t *testing.T) {
	bubble(t, func(t *testing.T, dns *fakeDNS) {
		dns.names["a"] = addrs("10.0.0.1")
		dns.names["b"] = addrs("10.0.0.1")
		r := start(t, dns, "a:8080", "b:8081")
		if got, want := r.last(t), "[10.0.0.1]:8080"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		want := "static peers: 10.0.0.1 is listed with the ports 8080 and 8081, and only 8080 is used: give each pod an address of its own"
		if got := r.warning(); got != want {
			t.Errorf("got the warning %q\nwant %q", got, want)
		}
		dns.set(func() { dns.names["b"] = addrs("10.0.0.2") })
		time.Sleep(33 * time.Second)
		if got, want := r.last(t), "[10.0.0.1]:8080 [10.0.0.2]:8081"; got != want || r.warning() != "" {
			t.Errorf("got %s, want %s and no warning", got, want)
		}
	})
}
