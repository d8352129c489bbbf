package rebalance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// told books a report that pod made some time ago.
func told(b *Balancer, pod string, ago time.Duration, r peerz.Report) {
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	if b.peers.reports == nil {
		b.peers.reports = map[string]peerReport{}
	}
	b.peers.reports[pod] = peerReport{report: r, at: time.Now().Add(-ago)}
}

func loadText(l *float64) string {
	if l == nil {
		return "?"
	}
	return fmt.Sprint(*l)
}

// What is shown as the mean is over the pods that planning knows, and no other.
func TestLoadStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Rebalance.Weight = WeightStreams
		b, err := New(cfg, WithPeers(&hand{}), WithSelf("pod-a", "198.18.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		want := func(what string, mean float64, band Band, peers string) {
			t.Helper()
			s := b.Status()
			got := ""
			for _, p := range s.Peers {
				got += fmt.Sprintf(" %s/%v", loadText(p.Load), p.Age)
			}
			if s.Weight != WeightStreams || s.Load != 0 || s.MeanLoad != mean || s.Band != band || got != peers {
				t.Errorf("%s: %s %v, mean %v, %+v, peers%s\nwant mean %v, %+v, peers%s", what, s.Weight, s.Load, s.MeanLoad, s.Band, got, mean, band, peers)
			}
		}
		want("no view", 0, Band{}, "")
		b.onMembership(pods("198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.4"))
		want("nobody told", 0, Band{}, " 0/0 ?/0 ?/0 ?/0")
		by := func(load float64) peerz.Report {
			return peerz.Report{Ready: true, Loads: map[string]float64{WeightStreams: load}}
		}
		told(b, "198.18.0.2", time.Second, by(30))
		want("one of three is too few", 0, Band{}, " 0/0 30/0 ?/0 ?/0")
		told(b, "198.18.0.3", 9*time.Second, by(60))
		want("two of three are enough", 30, Band{Over: 33, Under: 21}, " 0/0 30/0 60/9 ?/0")
		told(b, "198.18.0.4", 11*time.Second, by(90))
		want("who told long ago does not count", 30, Band{Over: 33, Under: 21}, " 0/0 30/0 60/9 90/11")
		told(b, "198.18.0.4", 61*time.Second, by(90))
		want("and is forgotten in the end", 30, Band{Over: 33, Under: 21}, " 0/0 30/0 60/9 ?/61")
		told(b, "198.18.0.4", 0, peerz.Report{Ready: true})
		want("who does not know the weight does not count", 30, Band{Over: 33, Under: 21}, " 0/0 30/0 60/9 ?/0")
		stopping := by(90)
		stopping.Ready = false
		told(b, "198.18.0.4", 0, stopping)
		want("who stops does not count", 30, Band{Over: 33, Under: 21}, " 0/0 30/0 60/9 90/0")
		told(b, "198.18.0.4", 0, by(90))
		want("all", 45, Band{Over: 49.500000000000004, Under: 31.499999999999996}, " 0/0 30/0 60/9 90/0")
		time.Sleep(staleAfter + time.Second)
		want("a stale view", 0, Band{}, " 0/0 30/32 60/40 90/31")
	})
}

// The band is that of whole connections where they are the weight.
func TestBandOfConnections(t *testing.T) {
	for _, tc := range []struct {
		mean, over, under float64
		whole             bool
	}{
		{0, 0, 0, true},
		{10, 11, 7, true},
		{10, 11, 7, false},
		{4, 5, 2.8, true},
		{2.8, 4, 1, true}, // of few, one may be missing
		{3, 4, 2.1, true}, // one above the mean is always allowed
		{3, 3.3, 2.1, false},
		{2.5, 3, 1, true},
		{87.5, 97, 61.25, true},
	} {
		cfg := DefaultConfig()
		p := policyOf(&cfg, WeightStreams)
		p.Whole = tc.whole
		band := bandOf(tc.mean, p)
		if d := band.Over - tc.over; d > 1e-9 || d < -1e-9 {
			t.Errorf("%+v: over %v", tc, band.Over)
		}
		if d := band.Under - tc.under; d > 1e-9 || d < -1e-9 {
			t.Errorf("%+v: under %v", tc, band.Under)
		}
	}
}

// The band that is shown is the one that is acted upon: planning counts the same pods
// outside of it.
func TestBandIsThatOfPlanning(t *testing.T) {
	cfg := DefaultConfig()
	seen := 0
	rapid.Check(t, func(t *rapid.T) {
		p := policyOf(&cfg, WeightStreams)
		p.Whole = rapid.Bool().Draw(t, "whole")
		loads := rapid.SliceOfN(rapid.IntRange(0, rapid.SampledFrom([]int{3, 4, 5, 30}).Draw(t, "most")), 2, 6).Draw(t, "loads")
		slices.Sort(loads) // this pod has the least, and so nothing to give
		v := &plan.View{Now: time.Hour, Load: float64(loads[0])}
		sum := 0
		for i, load := range loads {
			pod := string(rune('a' + i))
			v.Members = append(v.Members, pod)
			sum += load
			if i > 0 {
				v.Peers = append(v.Peers, plan.Peer{Pod: pod, Load: float64(load)})
			}
		}
		v.Self = v.Members[0]
		band := bandOf(float64(sum)/float64(len(loads)), p)
		outside := 0
		for _, load := range loads {
			if x := float64(load); x > band.Over*(1+1e-9) || x < band.Under*(1-1e-9) {
				outside++
			}
		}
		var s plan.State
		s, _ = plan.Next(s, v, p)
		v.Now += time.Hour
		_, step := plan.Next(s, v, p)
		n := 0
		switch {
		case strings.Contains(step.Why, "all inside the band"):
		case strings.Contains(step.Why, "outside the band"):
			if _, err := fmt.Sscanf(step.Why, "%d of", &n); err != nil {
				t.Fatal(step.Why)
			}
		default:
			return // it has something to give all the same, or there are too few
		}
		seen++
		if n != outside {
			t.Fatalf("%v: %d outside of %+v, planning says: %s", loads, outside, band, step.Why)
		}
	})
	t.Logf("%d compared", seen)
	if seen == 0 {
		t.Error("planning never spoke of the band")
	}
}

// Of many pods a handful tells each second: fewer than half are enough then.
func TestEnoughTold(t *testing.T) {
	for _, tc := range []struct {
		known, others int
		want          bool
	}{
		{0, 0, true},
		{0, 1, false},
		{1, 1, true},
		{2, 4, false},
		{3, 4, true},
		{16, 32, false},
		{17, 32, true},
		{38, 1000, false},
		{39, 1000, true},
	} {
		if got := enoughTold(tc.known, tc.others); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// Loads of pods that only tell of connections, from before there were others.
func TestLoadOfAnOldVersion(t *testing.T) {
	b, err := New(DefaultConfig(), WithPeers(&hand{}), WithSelf("pod-a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	b.onMembership(Membership{Members: []Member{
		{Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}, {Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.2")}},
	}})
	told(b, "198.18.0.2", 0, peerz.Report{Ready: true, Connections: 12, Draining: 2})
	s := b.Status()
	if s.Weight != WeightConnections || loadText(s.Peers[1].Load) != "10" || s.MeanLoad != 5 || s.Band.Over != 6 {
		t.Errorf("%s, peer %s, mean %v, %+v", s.Weight, loadText(s.Peers[1].Load), s.MeanLoad, s.Band)
	}
}
