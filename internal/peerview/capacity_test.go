package peerview

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

func TestCoresCount(t *testing.T) {
	for name, tc := range map[string]struct {
		pods []Capacity
		want bool
	}{
		"nobody":                     {nil, false},
		"alone":                      {[]Capacity{{Cores: 4}}, false},
		"all alike":                  {[]Capacity{{Cores: 4}, {Cores: 4}, {Cores: 4}}, false},
		"one is larger":              {[]Capacity{{Cores: 1}, {Cores: 4}, {Cores: 1}}, true},
		"one is not known":           {[]Capacity{{Cores: 1}, {Cores: 4}, {}}, false},
		"the first is not known":     {[]Capacity{{}, {Cores: 4}, {Cores: 1}}, false},
		"none is known":              {[]Capacity{{}, {}}, false},
		"one has a share of its own": {[]Capacity{{Cores: 1}, {Cores: 4, Share: 1}}, false},
	} {
		var all Capacities
		for _, c := range tc.pods {
			all.Add(c)
		}
		if got := all.CoresCount(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// cored is a Book of a pod with that many cores that sees n others.
func cored(tb testing.TB, cores float64, n int, change func(i int, m *peers.Member)) *Book {
	tb.Helper()
	members := manyMembers(n)
	for i := range members {
		if change != nil {
			change(i, &members[i])
		}
	}
	b := asker(tb, nil, members...)
	b.SetCapacity(Capacity{Cores: cores})
	return b
}

func (b *Book) tell(i int, rep peerz.Report) {
	rep.Pod = "p"
	b.Record(manyMembers(i + 1)[i].Addrs[0].String(), rep, nil)
}

func ownShare(b *Book) float64 {
	_, share := b.Capacity()
	return share
}

// What a pod tells of itself makes its share. Cores count only if all pods tell them.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cored(t, 1, 3, nil)
		want := func(what string, own float64, shares ...float64) {
			t.Helper()
			if got := ownShare(b); got != own {
				t.Errorf("%s: own share %v, want %v", what, got, own)
			}
			all := b.Peers(config.WeightConnections, "127.0.0.1")
			if len(all) != len(shares) {
				t.Fatalf("%s: %d peers, want %d", what, len(all), len(shares))
			}
			for i, p := range all {
				if p.Share != shares[i] {
					t.Errorf("%s: share of %s is %v, want %v", what, p.Pod, p.Share, shares[i])
				}
			}
			rows := b.Rows(config.WeightConnections)[1:] // this pod is at 127.0.0.1
			for i, share := range shares {
				if rows[i].Share != share {
					t.Errorf("%s: row %+v, want share %v", what, rows[i], share)
				}
			}
		}
		want("no report yet", 1)
		b.tell(0, peerz.Report{Ready: true, Cores: 1})
		want("all alike", 1, 1)
		b.tell(1, peerz.Report{Ready: true, Cores: 4, Warm: 0.5, Relief: 0.5, Paused: true, Loads: map[string]float64{config.WeightConnections: 8}, InFlight: map[string]float64{config.WeightConnections: 3, config.WeightStreams: 9}})
		want("one is larger, and warms up", 1, 1, 1)
		if p := b.Peers(config.WeightConnections, "127.0.0.1")[1]; p.Warm != 0.5 || !p.Paused || p.InFlight != 3 || p.Load != 8 {
			t.Errorf("%+v", p)
		}
		b.tell(1, peerz.Report{Ready: true, Cores: 4})
		want("one is larger", 1, 1, 4)
		load, share, n := b.LoadsWithin(time.Minute, []Member{{ID: "127.0.0.1", Self: true}, {ID: "198.18.0.0"}, {ID: "198.18.0.1"}}, config.WeightConnections)
		if load != 0 || share != 5 || n != 2 {
			t.Errorf("load %v, share %v of %d pods", load, share, n)
		}
		b.tell(2, peerz.Report{Ready: true})
		want("the third is of a version before", 1, 1, 1, 1)
		b.tell(2, peerz.Report{Cores: 0})
		want("it stops", 1, 1, 4)
		b.tell(2, peerz.Report{Ready: true, Cores: 1, Share: 2})
		want("its program says a share", 1, 1, 1, 2)
		b.SetCapacity(Capacity{Cores: 1, Share: 3})
		want("so does this one", 3, 1, 1, 2)
	})
}

// Every pod must come to the same answer, so old reports count for it, but only those of
// pods that serve.
func TestOldReportsDecideOnCores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cored(t, 1, 3, func(i int, m *peers.Member) { m.Unproven, m.Terminating = i == 1, i == 2 })
		b.polledAll = true
		b.tell(0, peerz.Report{Ready: true, Cores: 4})
		b.tell(1, peerz.Report{Ready: true})
		b.tell(2, peerz.Report{Ready: true})
		if coresCount(b) {
			t.Error("cores count although a pod that serves tells none")
		}
		time.Sleep(10 * time.Minute)
		if !coresCount(b) {
			t.Error("cores do not count: the unproven pod is silent, another one stops, the third one was heard long ago")
		}
	})
}

func coresCount(b *Book) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.coresCountLocked()
}

// Pods of one fleet see different others lately, and still agree.
func TestAllPodsAgreeOnCores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := cored(t, 1, 2, nil), cored(t, 1, 2, nil)
		for _, book := range []*Book{a, b} {
			book.tell(0, peerz.Report{Ready: true, Cores: 4})
			book.tell(1, peerz.Report{Ready: true})
		}
		time.Sleep(5 * time.Minute)
		a.tell(0, peerz.Report{Ready: true, Cores: 4})
		b.tell(1, peerz.Report{Ready: true})
		if coresCount(a) || coresCount(b) {
			t.Errorf("cores count: %v and %v, want neither", coresCount(a), coresCount(b))
		}
	})
}

func TestSharesCostNoMemory(t *testing.T) {
	b := cored(t, 1, 1000, nil)
	for i, m := range manyMembers(1000) {
		b.Record(m.Addrs[0].String(), peerz.Report{Ready: true, Cores: float64(1 + i%2)}, nil)
	}
	if n := testing.AllocsPerRun(10, func() {
		if all := b.Peers(config.WeightConnections, "127.0.0.1"); len(all) != 1000 || all[1].Share != 2 {
			t.Error("some peers are missing")
		}
	}); n != 0 {
		t.Errorf("%v allocations per call, want 0", n)
	}
}
