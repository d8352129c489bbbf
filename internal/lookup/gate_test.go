package lookup

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"pgregory.net/rapid"
)

// fakeDNS answers at once, and records the time of each lookup.
type fakeDNS struct {
	mu      sync.Mutex
	addrs   []netip.Addr
	err     error
	hang    bool // do not answer before the context is done
	lookups []time.Time
}

func (f *fakeDNS) Addrs(ctx context.Context, _ string) ([]netip.Addr, error) {
	f.mu.Lock()
	f.lookups = append(f.lookups, time.Now())
	list, err, hang := slices.Clone(f.addrs), f.err, f.hang
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return list, err
}

func (f *fakeDNS) set(err error, texts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.addrs = err, addrs(texts...)
}

func (f *fakeDNS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lookups)
}

// gaps returns the times between lookups.
func (f *fakeDNS) gaps() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(f.lookups); i++ {
		gaps = append(gaps, f.lookups[i].Sub(f.lookups[i-1]))
	}
	return gaps
}

func pods(texts ...string) [][]netip.Addr {
	var list [][]netip.Addr
	for _, t := range texts {
		list = append(list, addrs(strings.Split(t, " ")...))
	}
	return list
}

// gateTest runs f in a synctest bubble while a gate runs.
func gateTest(t *testing.T, f func(t *testing.T, dns *fakeDNS, g *Gate)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{}
		g := NewGate(dns, "hello.test")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.Run(ctx) }()
		f(t, dns, g)
		cancel()
		<-done
	})
}

// pass lets d pass, and then waits for everything that is due.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (g *Gate) mustBe(t *testing.T, open bool) {
	t.Helper()
	if s := g.Status(); s.Open != open || open == s.OpenSince.IsZero() {
		t.Fatalf("open is %v, want %v: %+v", s.Open, open, s)
	}
}

func TestGateOpensAfterThreeFullAnswers(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		dns.set(nil, "10.0.0.1")
		g.Want(pods("10.0.0.1", "10.0.0.2"))
		pass(10 * time.Second)
		s := g.Status()
		if s.Open || s.Wanted != 2 || !slices.Equal(s.Missing, addrs("10.0.0.2")) || s.FullInARow != 0 {
			t.Fatalf("status with one of two pods in the answer: %+v", s)
		}
		if waited := time.Since(s.WaitingSince); waited != 10*time.Second {
			t.Errorf("the gate has waited for %v, want 10 s", waited)
		}
		dns.set(nil, "10.0.0.2", "10.0.0.3", "10.0.0.1")
		before := dns.count()
		for dns.count() < before+2 {
			pass(time.Millisecond)
			g.mustBe(t, false)
		}
		pass(110 * time.Millisecond)
		g.mustBe(t, true)
		if s := g.Status(); s.FullInARow != 3 || len(s.Missing) != 0 || !s.WaitingSince.IsZero() {
			t.Errorf("status of the open gate: %+v", s)
		}
	})
}

func TestOnePartialAnswerStartsTheCountOver(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		g.Want(pods("10.0.0.1"))
		for _, bad := range []func(){
			func() { dns.set(nil) },
			func() { dns.set(errors.New("SERVFAIL"), "10.0.0.1") },
		} {
			for range 5 { // two full answers, then one that is not
				dns.set(nil, "10.0.0.1")
				nextAnswer(dns)
				nextAnswer(dns)
				bad()
				nextAnswer(dns)
				g.mustBe(t, false)
				if s := g.Status(); s.FullInARow != 0 {
					t.Fatalf("%d full answers in a row after one that was not full, want 0", s.FullInARow)
				}
			}
		}
	})
}

// nextAnswer waits for one more answer.
func nextAnswer(dns *fakeDNS) {
	for n := dns.count(); dns.count() == n; {
		pass(time.Millisecond)
	}
}

func TestOneAddressOfAPodIsEnough(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		dns.set(nil, "::ffff:10.0.0.1", "fd00::2")
		g.Want(pods("fd00::1 ::ffff:10.0.0.1", "10.0.0.2 fd00::2"))
		pass(time.Second)
		g.mustBe(t, true)
		g.Want(pods("fd00::1 10.0.0.1", "10.0.0.2 fd00::2", "10.0.0.3 fd00::3"))
		pass(time.Second)
		g.mustBe(t, false)
		if s := g.Status(); !slices.Equal(s.Missing, addrs("10.0.0.3")) {
			t.Errorf("missing pods are %v, want 10.0.0.3", s.Missing)
		}
	})
}

func TestTheSameSetAgainChangesNothing(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		dns.set(nil, "10.0.0.1", "10.0.0.2")
		g.Want(pods("10.0.0.1 fd00::1", "10.0.0.2"))
		pass(time.Second)
		<-g.Changed()
		before := g.Status()
		g.Want(append(pods("10.0.0.2", "fd00::1 ::ffff:10.0.0.1", "10.0.0.2"), nil))
		if s := g.Status(); !s.Open || s.OpenSince != before.OpenSince || len(g.Changed()) != 0 {
			t.Errorf("the status was %+v, is %+v, want no change", before, s)
		}
	})
}

func TestAnotherSetClosesTheGate(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		dns.set(nil, "10.0.0.1", "10.0.0.2")
		g.Want(pods("10.0.0.1"))
		pass(time.Second)
		g.mustBe(t, true)
		g.Want(pods("10.0.0.1", "10.0.0.2"))
		g.mustBe(t, false) // before the next lookup
		if s := g.Status(); s.FullInARow != 0 || len(s.Missing) != 2 {
			t.Errorf("status with the new set: %+v", s)
		}
		pass(time.Second)
		g.mustBe(t, true)
	})
}

func TestAGateWithNothingWantedMakesNoLookup(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		pass(time.Hour)
		g.Want([][]netip.Addr{nil, {}}) // pods without addresses cannot be waited for
		pass(time.Hour)
		if n := dns.count(); n != 0 {
			t.Errorf("%d lookups before any pod was wanted, want 0", n)
		}
		dns.set(nil, "10.0.0.1")
		g.Want(pods("10.0.0.1"))
		pass(time.Second)
		g.mustBe(t, true)
		g.Want(nil)
		g.mustBe(t, false)
		n := dns.count()
		pass(time.Hour)
		if dns.count() != n {
			t.Errorf("%d lookups with no pod wanted, want 0", dns.count()-n)
		}
		if s := g.Status(); s.Wanted != 0 || !s.WaitingSince.IsZero() || s.Lookups != uint64(n) {
			t.Errorf("status with no pod wanted: %+v", s)
		}
	})
}

func TestAnOpenGateClosesWhenAnAnswerIsNotFull(t *testing.T) {
	for name, bad := range map[string]func(*fakeDNS){
		"a pod is missing":   func(f *fakeDNS) { f.set(nil, "10.0.0.2") },
		"no such name":       func(f *fakeDNS) { f.set(nil) },
		"the lookup fails":   func(f *fakeDNS) { f.set(errors.New("SERVFAIL"), "10.0.0.1") },
		"there is no answer": func(f *fakeDNS) { f.mu.Lock(); f.hang = true; f.mu.Unlock() },
	} {
		t.Run(name, func(t *testing.T) {
			gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
				dns.set(nil, "10.0.0.1")
				g.Want(pods("10.0.0.1"))
				pass(time.Minute)
				g.mustBe(t, true)
				<-g.Changed()
				bad(dns)
				// The pace of a gate that has been open for a minute, a tenth of jitter, and the
				// timeout of a lookup.
				pass(2200*time.Millisecond + DefaultTimeout)
				g.mustBe(t, false)
				if s := g.Status(); s.WaitingSince.IsZero() || (s.Err == nil && len(s.Missing) == 0) {
					t.Errorf("the gate closed without a reason: %+v", s)
				}
				if len(g.Changed()) != 1 {
					t.Error("Changed has no value")
				}
			})
		})
	}
}

func TestAStoppedGateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{addrs: addrs("10.0.0.1")}
		g := NewGate(dns, "hello.test")
		g.Want(pods("10.0.0.1"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.Run(ctx)
		if s := g.Status(); s.Open || s.Lookups < 3 {
			t.Errorf("status after Run: %+v", s)
		}
		dns.hang = true
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		g.Run(ctx) // a second time, with a lookup that hangs
		if d := time.Since(start); d != time.Second {
			t.Errorf("Run returned after %v, want 1 s", d)
		}
	})
}

// TestGateProperty checks, for random sets and answers, that the gate is open only if the
// last three answers had every wanted pod.
func TestGateProperty(t *testing.T) {
	all := addrs("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "fd00::3")
	rapid.Check(t, func(t *rapid.T) {
		subset := rapid.SliceOfN(rapid.SampledFrom(all), 0, 8)
		g := NewGate(nil, "hello.test")
		var wanted [][]netip.Addr
		inARow := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				wanted = rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom(all), 1, 2), 0, 3).Draw(t, "wanted")
				before := g.Status()
				g.Want(wanted)
				if after := g.Status(); after.Open && !before.Open {
					t.Fatal("the gate opened without an answer")
				} else if !after.Open {
					inARow = after.FullInARow // 0 for another set, unchanged for the same
				}
			case 1:
				g.record(subset.Draw(t, "ignored"), errors.New("SERVFAIL"))
				inARow = 0
			default:
				answer := subset.Draw(t, "answer")
				if rapid.Bool().Draw(t, "full") {
					answer = slices.Clone(all)
					rand.Shuffle(len(answer), func(i, j int) { answer[i], answer[j] = answer[j], answer[i] })
				}
				g.record(answer, nil)
				inARow = map[bool]int{true: inARow + 1}[fullAnswer(wanted, answer)]
			}
			want := len(wanted) > 0 && inARow >= 3
			if s := g.Status(); s.Open != want {
				t.Fatalf("open is %v with %d full answers in a row for %v: %+v", s.Open, inARow, wanted, s)
			}
		}
	})
}

// fullAnswer reports, in the plainest way, whether an answer has every wanted pod.
func fullAnswer(wanted [][]netip.Addr, answer []netip.Addr) bool {
	for _, pod := range wanted {
		if !slices.ContainsFunc(pod, func(a netip.Addr) bool { return slices.Contains(answer, a) }) {
			return false
		}
	}
	return true
}

// The text of a failure must not depend on the socket of the query, or each lookup would
// look like a change.
func TestAnOngoingFailureIsSignalledOnce(t *testing.T) {
	dead := serve(t, always(reply{code: dnsmessage.RCodeServerFailure}))
	r, err := New(dead.addr)
	if err != nil {
		t.Fatal(err)
	}
	g := NewGate(r, "hello.test.")
	g.Want(pods("10.0.0.1"))
	<-g.Changed()
	for i := range 5 {
		g.check(t.Context())
		if n := len(g.Changed()); (i == 0) != (n == 1) {
			t.Fatalf("after failure %d, Changed has %d values", i+1, n)
		}
		if i == 0 {
			<-g.Changed()
		}
	}
}
