package rebalance

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// A signal that flips is shown at once, and then stays: each change of a condition is a line in
// the log, and an alert may hang on it.
func TestAnOverloadThatFlipsIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		begun := time.Now()
		flips := func() string {
			if since := time.Since(begun); since > time.Hour && since%(40*time.Second) < 20*time.Second {
				return "memory at 95 %"
			}
			return ""
		}
		b, err := New(config.Default(), WithPeers(src), WithSelf("pod-a", "198.18.0.1"), WithOverload(flips))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.Run(ctx) }()
		defer deafClients(b, 10)()
		src.set(pods("198.18.0.1", "198.18.0.2"))
		changes, shown := 0, false
		for range int((3 * time.Hour).Seconds()) {
			b.peers.Record("198.18.0.2", peerz.Report{Pod: "b", Ready: true, UptimeMillis: b.reg.Now().Milliseconds(), Connections: 10}, nil)
			time.Sleep(time.Second)
			if now := hasCondition(b, overloadedPod); now != shown {
				changes, shown = changes+1, now
			}
		}
		if !shown || changes > 3 {
			t.Errorf("in 2 h the condition changed %d times, and is shown: %v; want it shown, and 3 changes at most", changes, shown)
		}
		cancel()
		<-done
	})
}
