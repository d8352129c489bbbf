package lookup

import (
	"net/netip"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	within := func(t *testing.T, gaps []time.Duration, least, most time.Duration) {
		t.Helper()
		if len(gaps) == 0 {
			t.Fatal("no lookup was made")
		}
		for _, gap := range gaps {
			if gap < least*9/10 || gap > most*11/10 {
				t.Errorf("%v between lookups, want %v to %v plus or minus a tenth", gap, least, most)
			}
		}
	}
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		g.Want(pods("10.0.0.1"))
		pass(900 * time.Millisecond)
		within(t, dns.gaps(), 50*time.Millisecond, 50*time.Millisecond)
		pass(300 * time.Millisecond)
		n := len(dns.gaps())
		pass(27800 * time.Millisecond)
		within(t, dns.gaps()[n:], 250*time.Millisecond, 250*time.Millisecond)
		pass(2 * time.Second)
		n = len(dns.gaps())
		pass(2 * time.Second)
		within(t, dns.gaps()[n:], time.Second, 33*time.Second/30) // a thirtieth of the time so far
		pass(time.Hour)
		n = len(dns.gaps())
		pass(time.Minute)
		within(t, dns.gaps()[n:], 10*time.Second, 10*time.Second)
		dns.set(nil, "10.0.0.1")
		n = dns.count()
		for !g.Status().Open {
			pass(time.Millisecond)
		}
		within(t, dns.gaps()[n:], 100*time.Millisecond, 100*time.Millisecond)
		if opened := len(dns.gaps()) - n; opened != 2 {
			t.Errorf("%d lookups confirmed the full answer, want 2", opened)
		}
		n = len(dns.gaps())
		pass(time.Minute)
		within(t, dns.gaps()[n:], 2*time.Second, 2*time.Second)
		pass(time.Hour)
		n = len(dns.gaps())
		pass(time.Minute)
		within(t, dns.gaps()[n:], 10*time.Second, 10*time.Second)
	})
}

// However DNS answers, a gate asks at most ten times a second after the first second, and six
// times in the long run.
func TestLookupsAreBounded(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		sets := [][][]netip.Addr{pods("10.0.0.1"), pods("10.0.0.1", "10.0.0.2")}
		dns.set(nil, "10.0.0.1", "10.0.0.2")
		for i := range 10_000 { // each set is listed in full, and is replaced after one or two answers
			if i%150 == 0 {
				g.Want(sets[i/150%2])
			}
			pass(time.Millisecond)
		}
		for i, gap := range dns.gaps() {
			least := 90 * time.Millisecond
			if dns.lookups[i].Sub(dns.lookups[0]) < time.Second {
				least = 18 * time.Millisecond
			}
			if gap < least {
				t.Errorf("%v between two lookups, want %v at least", gap, least)
			}
		}
		before := dns.count()
		g.Want(pods("10.0.0.1"))
		for range 100 { // a full answer, then one that is not
			dns.set(nil, "10.0.0.1")
			nextAnswer(dns)
			dns.set(nil)
			nextAnswer(dns)
		}
		if took := time.Since(dns.lookups[before]); dns.count()-before != 200 || took < 30*time.Second {
			t.Errorf("%d lookups in %v, want 200 in 30 s at least", dns.count()-before, took)
		}
	})
}

// In the second after a change three full answers are 20 ms apart; those that lack a pod 50 ms.
func TestQuickConfirmation(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		dns.set(nil, "10.0.0.1")
		g.Want(pods("10.0.0.1", "10.0.0.2"))
		pass(300 * time.Millisecond)
		dns.set(nil, "10.0.0.1", "10.0.0.2")
		for !g.Status().Open {
			pass(time.Millisecond)
		}
		gaps := dns.gaps()
		for i, gap := range gaps {
			want := 50 * time.Millisecond
			if i >= len(gaps)-2 {
				want = 20 * time.Millisecond
			}
			if gap < want*9/10 || gap > want*11/10 {
				t.Errorf("lookup %d of %d comes %v after the one before, want about %v", i+2, len(gaps)+1, gap, want)
			}
		}
	})
}

func TestFrequentChangesOfTheSetCauseNoMoreLookups(t *testing.T) {
	gateTest(t, func(t *testing.T, dns *fakeDNS, g *Gate) {
		sets := [][][]netip.Addr{pods("10.0.0.1"), pods("10.0.0.2"), nil}
		for i := range 10_000 {
			g.Want(sets[i%3])
			pass(time.Millisecond)
		}
		if n := dns.count(); n < 10 || n > 64 { // a second of 45 ms at least, and 9 s of 225 ms
			t.Errorf("%d lookups in 10 s, want 10 to 64", n)
		}
	})
}
