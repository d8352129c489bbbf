package rebalance

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
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
