package rebalance

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
)

// named is a source of peers with a name.
type named struct{ name string }

func (n named) String() string { return n.name }
func (n named) Run(ctx context.Context, _ func(peers.Membership)) error {
	<-ctx.Done()
	return ctx.Err()
}

// running runs a Balancer of the pod with that name. end ends Run.
func running(t *testing.T, pod string, src peers.Source, visited bool) (b *Balancer, end func()) {
	t.Helper()
	b, err := New(config.Default(), WithPeers(src), WithSelf(pod, "198.18.0.1"), WithLogger(discard()))
	if err != nil {
		t.Fatal(err)
	}
	if visited {
		visitor(t, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return b, end
}

// Two Balancers of one pod each balance a part of it, and peers hear of one.
func TestTwoBalancersOfOnePod(t *testing.T) {
	hello := named{"kubernetes shop/hello"}
	for name, tc := range map[string]struct {
		podB           string
		srcA, srcB     peers.Source
		visitA, visitB bool
		want           bool
	}{
		"both track connections":   {podB: "pod-a", visitA: true, visitB: true, want: true},
		"one tracks none":          {podB: "pod-a", visitA: true},
		"both have the source":     {podB: "pod-a", srcA: hello, srcB: hello, want: true},
		"a source and connections": {podB: "pod-a", srcA: hello, visitA: true, visitB: true, want: true},
		"each its own Service":     {podB: "pod-a", srcA: hello, srcB: named{"kubernetes shop/other"}, visitA: true, visitB: true},
		"two pods in one process":  {podB: "pod-b", srcA: hello, srcB: hello, visitA: true, visitB: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _ := running(t, "pod-a", tc.srcA, tc.visitA)
				b, end := running(t, tc.podB, tc.srcB, tc.visitB)
				time.Sleep(12 * time.Second)
				for _, one := range []*Balancer{a, b} {
					i := slices.IndexFunc(one.Status().Conditions, func(c Condition) bool { return c.Code == "two-balancers" })
					if (i >= 0) != tc.want {
						t.Errorf("shown %v, want %v: %+v", i >= 0, tc.want, one.Status().Conditions)
					} else if i >= 0 && !strings.Contains(one.Status().Conditions[i].Text, "pass one Balancer to all servers") {
						t.Errorf("%q does not name the cure", one.Status().Conditions[i].Text)
					}
				}
				end()
				time.Sleep(2 * time.Second)
				if hasCondition(a, "two-balancers") || hasCondition(b, "two-balancers") {
					t.Error("the condition stays although one of them has ended")
				}
			})
		})
	}
}

// A server whose options lack those of serveropts never has a tracked connection.
func TestConnectionsThatNeverCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, nil, nil)
		time.Sleep(299 * time.Second)
		if got := shownCodes(b); got != "" {
			t.Errorf("before 5 min: %q", got)
		}
		time.Sleep(3 * time.Second)
		i := slices.IndexFunc(b.Status().Conditions, func(c Condition) bool { return c.Code == "no-connections" })
		if i < 0 {
			t.Fatalf("conditions %+v, want no-connections", b.Status().Conditions)
		}
		if c := b.Status().Conditions[i]; c.Severity != Info || !strings.Contains(c.Text, "serveropts.Options") {
			t.Errorf("%+v is no info that names the likely cause", c)
		}
		visitor(t, b)
		time.Sleep(2 * time.Second)
		if hasCondition(b, "no-connections") {
			t.Error("the condition stays although a client is connected")
		}
	})
}
