package peerview

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

func TestReportedLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members := manyMembers(9)
		members[5].Terminating = true
		members[6].Unproven = true
		b := asker(t, nil, members...)
		id := func(i int) string { return members[i].Addrs[0].String() }
		book := func(i int, rep peerz.Report, err error) {
			rep.Pod, rep.Ready = id(i), i != 7
			b.Record(id(i), rep, err)
		}
		loads := map[string]float64{config.WeightConnections: 7, config.WeightRequests: 0.5}
		book(6, peerz.Report{Loads: loads}, nil)
		time.Sleep(20 * time.Second)
		book(0, peerz.Report{Loads: loads, Reaching: true}, nil)
		time.Sleep(30 * time.Second)
		book(1, peerz.Report{Connections: 9, Draining: 2}, nil)                   // an old version
		book(2, peerz.Report{Connections: 9, Draining: 2, Overloaded: true}, nil) // another
		book(3, peerz.Report{Loads: loads}, nil)
		book(3, peerz.Report{}, &peerz.Error{Class: peerz.Timeout, Err: context.DeadlineExceeded})
		book(5, peerz.Report{Loads: loads}, nil)
		book(7, peerz.Report{Loads: loads}, nil)
		time.Sleep(10 * time.Second)

		want := []plan.Peer{
			{Pod: id(0), Age: 40 * time.Second, Load: 7, Serving: 7, Share: 1, Warm: 1, Reaching: true},
			{Pod: id(1), Age: 10 * time.Second, Load: 7, Serving: 7, Share: 1, Warm: 1},
			{Pod: id(2), Age: 10 * time.Second, Load: 7, Serving: 7, Share: 1, Warm: 1, Overloaded: true},
			{Pod: id(3), Age: 10 * time.Second, Load: 7, Serving: 7, Share: 1, Warm: 1},
		}
		if got := b.Peers(config.WeightConnections, "127.0.0.1"); !slices.Equal(got, want) {
			t.Errorf("by connections\n%+v, want\n%+v", got, want)
		}
		if got := b.Peers(config.WeightConnections, id(0)); !slices.Equal(got, want[1:]) {
			t.Errorf("seen by %s: %+v", id(0), got)
		}
		want[0].Load, want[3].Load = 0.5, 0.5
		if got := b.Peers(config.WeightRequests, "127.0.0.1"); !slices.Equal(got, []plan.Peer{want[0], want[3]}) {
			t.Errorf("by requests %+v, want nothing of old versions", got)
		}
		if got := b.Peers("of later", "127.0.0.1"); len(got) != 0 {
			t.Errorf("by a weight that no pod measures: %+v", got)
		}
		time.Sleep(20 * time.Second)
		if got := b.Peers(config.WeightConnections, "127.0.0.1"); len(got) != 4 || got[0].Age != time.Minute {
			t.Errorf("after a minute: %+v", got)
		}
		time.Sleep(time.Millisecond)
		if got := b.Peers(config.WeightConnections, "127.0.0.1"); len(got) != 3 {
			t.Errorf("after more than a minute: %+v", got)
		}
		seeMembers(b, members[:2]...)
		if got := b.Peers(config.WeightConnections, "127.0.0.1"); len(got) != 1 || got[0].Pod != id(1) {
			t.Errorf("after most pods left: %+v", got)
		}
	})
}

// thousand is a Book with reports of 1,000 peers.
func thousand(tb testing.TB) *Book {
	tb.Helper()
	members := manyMembers(1000)
	b := asker(tb, nil, members...)
	for _, m := range members {
		b.Record(m.Addrs[0].String(), peerz.Report{Ready: true, Loads: map[string]float64{config.WeightConnections: 1}}, nil)
	}
	return b
}

func TestLoadsOfPeersCostNoMemory(t *testing.T) {
	b := thousand(t)
	if n := testing.AllocsPerRun(10, func() {
		if len(b.Peers(config.WeightConnections, "127.0.0.1")) != 1000 {
			t.Error("some peers are missing")
		}
	}); n != 0 {
		t.Errorf("%v allocations per call, want 0", n)
	}
}

func BenchmarkPeers1000(b *testing.B) {
	bal := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		bal.Peers(config.WeightConnections, "127.0.0.1")
	}
}

func TestRestarts(t *testing.T) {
	const minute = 60_000
	old := peerz.Report{Pod: "b", UptimeMillis: 10 * minute, Generation: 7}
	for name, tc := range map[string]struct {
		next    peerz.Report
		restart bool
	}{
		"goes on":                      {peerz.Report{Pod: "b", UptimeMillis: 11 * minute, Generation: 7}, false},
		"grows":                        {peerz.Report{Pod: "b", UptimeMillis: 11 * minute, Generation: 8}, false},
		"uptime falls":                 {peerz.Report{Pod: "b", UptimeMillis: 10*minute - 1, Generation: 7}, true},
		"generation falls":             {peerz.Report{Pod: "b", UptimeMillis: 11 * minute, Generation: 6}, true},
		"a new pod has the address":    {peerz.Report{Pod: "c", UptimeMillis: minute / 2}, true},
		"pods behind one address":      {peerz.Report{Pod: "c", UptimeMillis: 9 * minute}, false},
		"a new one behind one address": {peerz.Report{Pod: "c", UptimeMillis: minute + 1}, true}, // once, then it is older
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := asker(t, nil, manyMembers(1)...)
				b.Record("198.18.0.0", old, nil)
				time.Sleep(time.Minute)
				b.Record("198.18.0.0", tc.next, nil)
				if got := len(b.Restarted()) == 1; got != tc.restart {
					t.Errorf("a restart: %v", got)
				}
			})
		})
	}
}
