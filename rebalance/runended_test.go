package rebalance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
)

// runFor runs a Balancer with a source for a while, and waits until Run has returned.
func runFor(t *testing.T, b *Balancer, d time.Duration, view func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); b.Run(ctx) }()
	view()
	<-ended
}

// A Run that has ended while clients are connected is a mistake that somebody must see: its
// last verdict is not the present one.
func TestRunThatEndedEarlyIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{}
		b, err := New(config.Default(), WithPeers(src), WithSelf("pod-a", "198.18.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		visitor(t, b)
		runFor(t, b, 5*time.Second, func() { src.set(pods("198.18.0.1")) })
		wantVerdict(t, b, Disabled, "Run has ended")
		if hasCondition(b, "run-ended") {
			t.Error("the condition shows at once: Shutdown may be about to begin")
		}
		time.Sleep(11 * time.Second)
		i := slices.IndexFunc(b.Status().Conditions, func(c Condition) bool { return c.Code == "run-ended" })
		if i < 0 || !strings.Contains(b.Status().Conditions[i].Text, "1 connection") {
			t.Fatalf("conditions %+v, want run-ended with the number of connections", b.Status().Conditions)
		}
		runFor(t, b, 2*time.Second, func() {
			synctest.Wait()
			if hasCondition(b, "run-ended") {
				t.Error("the condition shows although Run runs again")
			}
		})
		if _ = b.Shutdown(t.Context()); hasCondition(b, "run-ended") {
			t.Error("the condition shows although the pod is stopping")
		}
	})
}

// What only Run renews is gone when Run has ended, and while the pod stops.
func TestConditionsOfRunEndWithIt(t *testing.T) {
	for name, stop := range map[string]bool{"Run has ended": false, "Shutdown": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{}
				b, err := New(config.Default(), WithPeers(src), WithSelf("pod-a", "198.18.0.1"))
				if err != nil {
					t.Fatal(err)
				}
				runFor(t, b, 20*time.Second, func() {
					src.set(peers.Membership{Err: errors.New("away"), Warning: "no verb watch"})
					time.Sleep(15 * time.Second)
					b.mu.Lock()
					b.reaching, b.overload = true, "memory"
					b.mu.Unlock()
					if !hasCondition(b, "stale-view") {
						t.Error("the view is stale, and nothing shows it")
					}
					if stop {
						b.Shutdown(t.Context())
						time.Sleep(2 * time.Second)
						if got := shownCodes(b); got != "" {
							t.Errorf("while the pod stops: %q", got)
						}
					}
				})
				if got := shownCodes(b); got != "" {
					t.Errorf("still shown: %q", got)
				}
				if r := b.report(nil); r.Reaching || r.Overloaded {
					t.Errorf("the report still says what only Run knows: %+v", r)
				}
			})
		})
	}
}
