package rebalance

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
	"github.com/evenkeel-go/evenkeel/peers"
)

func loadText(l *float64) string {
	if l == nil {
		return "?"
	}
	return fmt.Sprint(*l)
}

// The mean that is shown is that of the pods that planning knows.
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
		view := func() { b.peers.Update(pods("198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.4")) }
		by := func(load float64) peerz.Report {
			return peerz.Report{Pod: "p", Ready: true, UptimeMillis: b.reg.Now().Milliseconds(), Loads: map[string]float64{config.WeightStreams: load}}
		}
		two := func() {
			view()
			b.peers.Record("198.18.0.2", by(30), nil)
			b.peers.Record("198.18.0.3", by(60), nil)
		}
		band := Band{Over: 33, Under: 21}
		want("no view", 0, Band{}, "")
		view()
		want("no reports", 0, Band{}, " 0/0 ?/0 ?/0 ?/0")
		b.peers.Record("198.18.0.2", by(30), nil)
		want("one of three is too few", 0, Band{}, " 0/0 30/0 ?/0 ?/0")
		b.peers.Record("198.18.0.3", by(60), nil)
		time.Sleep(9 * time.Second)
		b.peers.Record("198.18.0.2", by(30), nil)
		want("two of three are enough", 30, band, " 0/0 30/0 60/9 ?/0")
		b.peers.Record("198.18.0.4", by(90), nil)
		time.Sleep(11 * time.Second)
		two()
		want("a load reported long ago does not count", 30, band, " 0/0 30/0 60/0 90/11")
		time.Sleep(50 * time.Second)
		two()
		want("and is forgotten in the end", 30, band, " 0/0 30/0 60/0 ?/61")
		other := by(0)
		other.Loads = nil
		b.peers.Record("198.18.0.4", other, nil)
		want("a report without the weight does not count", 30, band, " 0/0 30/0 60/0 ?/0")
		stopping := by(90)
		stopping.Ready = false
		b.peers.Record("198.18.0.4", stopping, nil)
		want("a pod that stops does not count", 30, band, " 0/0 30/0 60/0 90/0")
		b.peers.Record("198.18.0.4", by(90), nil)
		want("all", 45, Band{Over: 49.500000000000004, Under: 31.499999999999996}, " 0/0 30/0 60/0 90/0")
		time.Sleep(31 * time.Second)
		want("a stale view", 0, Band{}, " 0/0 30/31 60/31 90/31")
	})
}

// Versions from before there were other loads report connections alone.
func TestLoadOfAnOldVersion(t *testing.T) {
	b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("pod-a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	b.peers.Update(peers.Membership{Members: []peers.Member{
		{Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}, {Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.2")}},
	}})
	b.peers.Record("198.18.0.2", peerz.Report{Pod: "b", Ready: true, Connections: 12, Draining: 2}, nil)
	s := b.Status()
	if s.Weight != config.WeightConnections || loadText(s.Peers[1].Load) != "10" || s.MeanLoad != 5 || s.Band.Over != 6 {
		t.Errorf("%s, peer %s, mean %v, %+v", s.Weight, loadText(s.Peers[1].Load), s.MeanLoad, s.Band)
	}
}

// talkingConn is a connection on which the client has sent in.
type talkingConn struct {
	deafConn

	in bytes.Buffer
}

func (c *talkingConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// trackStreams tracks a connection on which n streams are open.
func trackStreams(t *testing.T, b *Balancer, n int) *conns.Conn {
	t.Helper()
	c := &talkingConn{}
	c.in.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&c.in, nil)
	_ = fr.WriteSettings()
	for i := range n {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), EndHeaders: true, BlockFragment: []byte{0x84}}) // :path /
	}
	nc := b.reg.Add(c, "k")
	if _, err := nc.Read(make([]byte, c.in.Len())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return conns.FromAddr(nc.RemoteAddr())
}

// What drained connections still carry is no load any more, but is in flight. It is measured by
// the weight in force.
func TestDrainedStreamsAreInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config.Default()
		b, err := New(cfg, WithWeight(func(c ConnStats) float64 { return 10 * float64(c.Streams) }))
		if err != nil {
			t.Fatal(err)
		}
		cc := trackStreams(t, b, 4)
		trackStreams(t, b, 3)
		time.Sleep(time.Second)
		b.sample()
		cc.Drain(reason.Even, "", 0)
		time.Sleep(2 * time.Second)
		for weight, want := range map[string]struct{ load, flight float64 }{
			config.WeightConnections: {1, 1},
			config.WeightRequests:    {3, 4},
			config.WeightStreams:     {3, 4},
			config.WeightCustom:      {30, 40},
		} {
			var v plan.View
			cfg.Rebalance.Weight = weight
			b.opts.weigh = nil
			if weight == config.WeightCustom {
				b.opts.weigh = func(ConnStats) float64 { return 0 }
			}
			b.addLoads(&v, &cfg)
			if f := (plan.Flight{Load: want.flight, Connections: 1, Streams: 4, Oldest: 2 * time.Second}); v.Load != want.load || v.InFlight != f {
				t.Errorf("by %s: load %v, in flight %+v, want %v, %+v", weight, v.Load, v.InFlight, want.load, f)
			}
			for _, c := range b.plannedConns(weight) {
				if c.Weight != want.load && c.Weight != want.flight {
					t.Errorf("by %s: connection %d weighs %v", weight, c.ID, c.Weight)
				}
			}
		}
	})
}
