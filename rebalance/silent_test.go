package rebalance

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/peers/dns"
)

// unproven returns a view whose pods are members only while they answer, as a static list has.
func unproven(addrs ...string) peers.Membership {
	m := pods(addrs...)
	for i := range m.Members {
		m.Members[i].Unproven = true
	}
	return m
}

// A pod of a static list whose peers do not answer does not know that it is alone. A peer that
// stopped in order has gone.
func TestStaticPeersThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		src.set(unproven("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		time.Sleep(5 * time.Second)
		wantVerdict(t, b, Stale, "0 of 2 peers answer")
		time.Sleep(10 * time.Second)
		if !hasCondition(b, "stale-view") {
			t.Error("no condition shows it")
		}
		b.peers.Record("198.18.0.2", peerz.Report{Pod: "b", Ready: true, UptimeMillis: 9}, nil)
		time.Sleep(time.Second)
		wantVerdict(t, b, Waiting, "1 to 2 pods")
		b.peers.Record("198.18.0.2", peerz.Report{Pod: "b", UptimeMillis: 9}, nil)
		time.Sleep(2 * time.Second)
		wantVerdict(t, b, Stale, "0 of 1 peers answer") // .2 has stopped, .3 never answered
		b.peers.Record("198.18.0.3", peerz.Report{Pod: "c", UptimeMillis: 9}, nil)
		b.peers.Record("198.18.0.2", peerz.Report{}, errors.New("connection refused"))
		time.Sleep(2 * time.Minute)
		wantVerdict(t, b, Balanced, "this pod is alone")
	})
}

// A pod whose health endpoint is a Handler without a port does not know where to poll its
// peers. They are not the ones that are not ready.
func TestPeersPortIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		src.set(pods("198.18.0.1", "127.0.0.2", "127.0.0.3"))
		time.Sleep(5 * time.Second)
		if hasCondition(b, "peers-port") {
			t.Error("the condition shows although the health endpoint may begin in a moment")
		}
		time.Sleep(10 * time.Second)
		all := b.Status().Conditions
		i := slices.IndexFunc(all, func(c Condition) bool { return c.Code == "peers-port" })
		if i < 0 || !strings.Contains(all[i].Text, "2 peers are not polled") || !strings.Contains(all[i].Text, "health.WithPort") {
			t.Errorf("conditions %+v, want peers-port with the number and the cure", all)
		}
		b.healthFailed(":8080", errors.New("address already in use"))
		if got := shownCodes(b); strings.Contains(got, "peers-port") {
			t.Errorf("%q: the cause is health-port", got)
		}
		b.healthFailed(":8080", nil)
		b.setHealthPort(1) // nothing listens there
		time.Sleep(2 * time.Second)
		if hasCondition(b, "peers-port") {
			t.Error("the condition stays although the port is known")
		}
	})
}

// Only a source that looks up a name may have got that of a ClusterIP.
func TestSourceByName(t *testing.T) {
	named, err := dns.New(dns.Options{Name: "hello.test"})
	if err != nil {
		t.Fatal(err)
	}
	for want, src := range map[bool]peers.Source{true: named, false: &hand{}} {
		b, err := New(config.Default(), WithPeers(src))
		if err != nil {
			t.Fatal(err)
		}
		cfg := b.Config()
		if got := b.peerOptions(&cfg, peerview.Self{}).ByName; got != want {
			t.Errorf("%v: by name %v, want %v", src, got, want)
		}
	}
}
