package rebalance

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
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
		cfg := config.Default()
		cfg.Rebalance.Weight = config.WeightStreams
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
			if s.Weight != config.WeightStreams || s.Load != 0 || s.MeanLoad != mean || s.Band != band || got != peers {
				t.Errorf("%s: %s %v, mean %v, %+v, peers%s\nwant mean %v, %+v, peers%s", what, s.Weight, s.Load, s.MeanLoad, s.Band, got, mean, band, peers)
			}
		}
		want("no view", 0, Band{}, "")
		b.onMembership(pods("198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.4"))
		want("nobody told", 0, Band{}, " 0/0 ?/0 ?/0 ?/0")
		by := func(load float64) peerz.Report {
			return peerz.Report{Ready: true, Loads: map[string]float64{config.WeightStreams: load}}
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

// Loads of pods that only tell of connections, from before there were others.
func TestLoadOfAnOldVersion(t *testing.T) {
	b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("pod-a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	b.onMembership(peers.Membership{Members: []peers.Member{
		{Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}, {Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.2")}},
	}})
	told(b, "198.18.0.2", 0, peerz.Report{Ready: true, Connections: 12, Draining: 2})
	s := b.Status()
	if s.Weight != config.WeightConnections || loadText(s.Peers[1].Load) != "10" || s.MeanLoad != 5 || s.Band.Over != 6 {
		t.Errorf("%s, peer %s, mean %v, %+v", s.Weight, loadText(s.Peers[1].Load), s.MeanLoad, s.Band)
	}
}
