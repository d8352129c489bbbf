package rebalance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

func conditionText(b *Balancer, code string) string {
	for _, c := range b.Status().Conditions {
		if c.Code == code {
			return c.Text
		}
	}
	return ""
}

// halting is started, with a function that ends Run, so that the test may call what Run owns.
func halting(t *testing.T, src peers.Source) (b *Balancer, halt func()) {
	t.Helper()
	b, err := New(config.Default(), WithPeers(src), WithSelf("pod-a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	return b, func() { cancel(); <-done }
}

// A pod that lives and is taken out of the Service learns of it, its peers learn of it, and a
// person does.
func TestAPodIsTakenOutOfTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		keepReporting(t, b, "198.18.0.2", "198.18.0.3")
		src.set(pods("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		time.Sleep(10 * time.Second)
		if r := b.report(nil); r.Out || hasCondition(b, outOfService) {
			t.Error("a member is out of the Service")
		}
		src.set(pods("198.18.0.2", "198.18.0.3"))
		if r := b.report(nil); !r.Out || !r.Ready {
			t.Errorf("its peers do not learn at once that it is out, and serves: %+v", r)
		}
		time.Sleep(29 * time.Second)
		if hasCondition(b, outOfService) {
			t.Error("the condition shows before it is certain")
		}
		time.Sleep(6 * time.Second)
		if text := conditionText(b, outOfService); !strings.HasPrefix(text, "hand has not listed this pod (198.18.0.1) for 30s, although it lives: its readiness probe fails") {
			t.Errorf("condition %q", text)
		}
		if hasCondition(b, staleView) {
			t.Error("the view counts as stale")
		}
		src.set(pods("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		time.Sleep(time.Second)
		if r := b.report(nil); r.Out || hasCondition(b, outOfService) {
			t.Error("it is a member again, and out of the Service")
		}
	})
}

// Planning gets the others as members, with their loads, and this pod's own name.
func TestTheViewOfAPodThatIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b, halt := halting(t, src)
		src.set(pods("198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.4"))
		time.Sleep(10 * time.Second)
		src.set(pods("198.18.0.2", "198.18.0.3"))
		time.Sleep(40 * time.Second)
		for _, addr := range []string{"198.18.0.2", "198.18.0.3", "198.18.0.4"} {
			b.peers.Record(addr, peerz.Report{Pod: addr, Ready: true, UptimeMillis: 1, Connections: 7, Place: peerz.Place{Out: addr == "198.18.0.4"}}, nil)
		}
		halt()
		v, _ := b.view()
		if v.Out == "" || v.Stale != "" || v.OutPods != 2 || v.Self != "198.18.0.1" || !slices.Equal(v.Members, []string{"198.18.0.2", "198.18.0.3"}) {
			t.Errorf("got %+v", v)
		}
		if len(v.Peers) != 2 || v.Peers[0].Load != 7 || v.Peers[1].Pod != "198.18.0.3" {
			t.Errorf("peers %+v, want both members with their loads", v.Peers)
		}
	})
}

// A stopping pod is a lame duck, and not out of the Service.
func TestAStoppingPodIsNotOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(time.Second)
		go b.Shutdown(t.Context())
		src.set(pods("198.18.0.2"))
		if r := b.report(nil); r.Out || r.Ready {
			t.Errorf("got %+v", r)
		}
		time.Sleep(time.Minute)
		if hasCondition(b, outOfService) {
			t.Error("a stopped pod shows that it is out of the Service")
		}
	})
}

// Each pod that sees another salt says so, and names the pods.
func TestPodsWithAnotherSalt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b, halt := halting(t, src)
		src.set(pods("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		for i, salt := range []string{"", "pepper"} {
			addr := fmt.Sprintf("198.18.0.%d", i+2)
			b.peers.Record(addr, peerz.Report{
				Pod: "pod-" + addr, Ready: true, UptimeMillis: 1, Place: peerz.Place{SaltCheck: peerz.NewHasher(salt).SaltCheck()},
			}, nil)
		}
		time.Sleep(9 * time.Second)
		if hasCondition(b, otherSalt) {
			t.Error("the condition shows at once, also in a rollout of a changed salt")
		}
		time.Sleep(3 * time.Second)
		if text := conditionText(b, otherSalt); !strings.Contains(text, "1 of 2 other pods") || !strings.Contains(text, "pod-198.18.0.3 (198.18.0.3)") {
			t.Errorf("condition %q", text)
		}
		halt()
		v, _ := b.view()
		if len(v.Peers) != 2 || v.Peers[0].OtherSalt || !v.Peers[1].OtherSalt {
			t.Errorf("peers %+v", v.Peers)
		}
	})
}

// A zone whose pods carry more than the band allows is named once that has lasted.
func TestAZoneWithTooFewPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		m := pods("198.18.0.1", "198.18.0.2", "198.18.0.3")
		for i, zone := range []string{"a", "a", "b"} {
			m.Members[i].Zone = zone
		}
		src.set(m)
		report := func() {
			for addr, n := range map[string]int{"198.18.0.2": 0, "198.18.0.3": 10} {
				b.peers.Record(addr, peerz.Report{Pod: addr, Ready: true, UptimeMillis: b.reg.Now().Milliseconds(), Connections: n}, nil)
			}
			time.Sleep(time.Second)
		}
		for range 175 {
			report()
		}
		if hasCondition(b, zoneShort) {
			t.Error("the condition shows before it has lasted")
		}
		for range 10 {
			report()
		}
		if text := conditionText(b, zoneShort); !strings.HasPrefix(text, `zone "b" has too few pods: its pod carries 3.0 times`) {
			t.Errorf("condition %q", text)
		}
		if got := b.report(nil).Zone; got != "a" {
			t.Errorf("this pod reports zone %q, want that of its hint", got)
		}
		m.Members = append([]peers.Member(nil), m.Members...)
		m.Members[2].Zone = "" // the hints are no longer in force
		src.set(m)
		report()
		if hasCondition(b, zoneShort) {
			t.Error("the condition stays without hints")
		}
	})
}

func TestZoneText(t *testing.T) {
	zones := map[string]string{"1": "a", "2": "a", "3": "b", "4": "b"}
	peersOf := func(loads ...float64) (out []plan.Peer) {
		for i, load := range loads {
			out = append(out, plan.Peer{Pod: fmt.Sprint(i + 2), Load: load})
		}
		return out
	}
	big := peersOf(100, 200, 200)
	big[1].Share, big[2].Share = 2, 2
	for name, tc := range map[string]struct {
		view plan.View
		want string
	}{
		"even":          {plan.View{Load: 100, Peers: peersOf(100, 105, 105)}, ""},
		"short":         {plan.View{Load: 50, Peers: peersOf(50, 150, 150)}, `zone "b" has too few pods: its 2 pods carry 1.5 times`},
		"by share":      {plan.View{Load: 100, Peers: big}, ""},
		"few":           {plan.View{Load: 1, Peers: peersOf(1, 2, 2)}, ""},
		"too few heard": {plan.View{Load: 50, Peers: peersOf()}, ""},
		"stale":         {plan.View{Load: 50, Peers: peersOf(50, 150, 150), Stale: "no view"}, ""},
	} {
		v := tc.view
		v.Self, v.Zones = "1", zones
		got := zoneText(&v, &plan.Policy{Tolerance: 0.1, Whole: true})
		if !strings.HasPrefix(got, tc.want) || (tc.want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

// Connections that all come from one address count as one client, which a person should know.
func TestConnectionsFromOneAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		keys []string
		want string // part of the text; empty: no condition
	}{
		"one address":       {[]string{"10.0.0.9"}, "all 8 connections come from 10.0.0.9 alone"},
		"a sidecar":         {[]string{"127.0.0.6"}, "all 8 connections come from this machine (127.0.0.6)"},
		"both families":     {[]string{"127.0.0.1", "::1"}, "all 8 connections come from this machine"},
		"two addresses":     {[]string{"10.0.0.9", "10.0.0.10"}, ""},
		"a sidecar and one": {[]string{"127.0.0.1", "10.0.0.10"}, ""},
		"named by the user": {[]string{"tenant"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := started(t, &hand{}, nil)
				n := 0
				b.opts.key = func(ConnInfo) string { n++; return tc.keys[n%len(tc.keys)] }
				for range fewConnections - 1 {
					visitor(t, b)
				}
				if time.Sleep(6 * time.Minute); hasCondition(b, oneAddress) {
					t.Error("the condition shows with few connections")
				}
				visitor(t, b)
				if time.Sleep(4 * time.Minute); hasCondition(b, oneAddress) {
					t.Error("the condition shows before it has lasted")
				}
				time.Sleep(2 * time.Minute)
				if text := conditionText(b, oneAddress); !strings.Contains(text, tc.want) || (tc.want == "") != (text == "") {
					t.Errorf("condition %q, want %q", text, tc.want)
				}
			})
		})
	}
}

// Whoever reaches the health port can announce pods. That delays a growth by 15 s at most.
func TestAHostileAskerDelaysAGrowthBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		keepReporting(t, b, "198.18.0.2")
		visitor(t, b)
		src.set(pods("198.18.0.1"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ctx.Err() == nil; i++ {
				b.peers.Starts(peerz.Start{Pod: fmt.Sprint("pod-", i), Addr: netip.MustParseAddr("198.18.9.9")})
				b.peers.Starts(peerz.Start{Pod: "one that never becomes ready"})
				time.Sleep(100 * time.Millisecond)
			}
		}()
		time.Sleep(time.Minute)
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(10 * time.Second)
		if b.Status().GoAways["reach"] != 0 {
			t.Error("the growth does not wait for pods that are starting")
		}
		time.Sleep(8 * time.Second)
		if b.Status().GoAways["reach"] != 1 {
			t.Errorf("GOAWAYs %v 18 s after the growth, want one for reach", b.Status().GoAways)
		}
		stop()
		<-done
	})
}
