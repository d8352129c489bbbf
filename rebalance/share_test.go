package rebalance

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

func TestWarmth(t *testing.T) {
	for _, tc := range []struct {
		serving, warmup time.Duration
		want            float64
	}{
		{0, 0, 1},
		{time.Hour, 0, 1},
		{0, time.Minute, 0.1},
		{30 * time.Second, time.Minute, 0.55},
		{time.Minute, time.Minute, 1},
		{time.Hour, time.Minute, 1},
	} {
		if got := warmth(tc.serving, tc.warmup); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%v of %v: %v, want %v", tc.serving, tc.warmup, got, tc.want)
		}
	}
}

// told returns this pod's report as a peer reads it.
func told(t testing.TB, b *Balancer) peerz.Report {
	t.Helper()
	w := httptest.NewRecorder()
	peerz.Handler(b.report).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", peerz.Path, nil))
	var r peerz.Report
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A new pod's part grows from when it is a member, and the setting takes effect at once.
func TestWarmingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, func(c *config.Config) { c.Rebalance.Warmup = 100 * time.Second })
		want := func(share, warm float64) {
			t.Helper()
			if s, r := b.Status(), told(t, b); math.Abs(s.Share-share) > 0.01 || math.Abs(s.Warm-share) > 0.01 || math.Abs(r.Warm-warm) > 0.01 {
				t.Errorf("share %v, warm %v, reported %v, want %v and %v", s.Share, s.Warm, r.Warm, share, warm)
			}
		}
		src.set(pods("198.18.0.2"))
		time.Sleep(5 * time.Minute)
		want(0.1, 0.1)
		src.set(pods("198.18.0.1", "198.18.0.2"))
		synctest.Wait()
		want(0.1, 0.1)
		time.Sleep(50 * time.Second)
		want(0.55, 0.55)
		src.set(pods("198.18.0.2"))
		time.Sleep(20 * time.Second)
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(20 * time.Second)
		want(0.91, 0.91) // it stays warm while it is no member
		time.Sleep(10 * time.Second)
		want(1, 0) // which is left out
		cfg := b.Config()
		cfg.Rebalance.Warmup = 200 * time.Second
		if err := b.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		want(0.55, 0.55)
	})
}

// A share that is none counts as 1, and a person learns of it.
func TestInvalidShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := 2.5
		b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("pod-a", "198.18.0.1"), WithShare(func() float64 { return share }))
		if err != nil {
			t.Fatal(err)
		}
		if r := told(t, b); r.Share != 1 || r.Cores != 0 {
			t.Errorf("before Run: %+v", r)
		}
		for _, tc := range []struct {
			share, want float64
			text        string
		}{
			{2.5, 2.5, ""},
			{math.NaN(), 1, "has returned NaN, which counts as 1: return a number from 0.01 to 100"},
			{math.Inf(1), 1, "has returned +Inf"},
			{0, 1, "has returned 0,"},
			{-1, 1, "has returned -1,"},
			{4000, 1, "has returned 4000,"},
			{100, 100, ""},
		} {
			share = tc.share
			time.Sleep(time.Second)
			b.sample()
			b.watchConditions()
			text := ""
			for _, c := range b.Status().Conditions {
				if c.Code == shareInvalid {
					text = c.Text
				}
			}
			if r := told(t, b); r.Share != tc.want || b.Status().Share != tc.want || !strings.Contains(text, tc.text) || (text == "") != (tc.text == "") {
				t.Errorf("%v: reported %v, shown %v, condition %q", tc.share, r.Share, b.Status().Share, text)
			}
		}
	})
}

// sized returns a Balancer of a pod with that many cores, or with a share of its own.
func sized(t *testing.T, addr string, cores float64, opts ...Option) *Balancer {
	t.Helper()
	limit := optionFunc(func(o *options) { o.cores = func() float64 { return cores } })
	opts = append(opts, WithPeers(&hand{}), WithSelf(addr, addr), limit)
	b, err := New(config.Default(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exchange lets each pod of a fleet hear all others, and returns what each one plans with: the
// shares by pod.
func exchange(t *testing.T, fleet []*Balancer) []string {
	t.Helper()
	var m peers.Membership
	for _, b := range fleet {
		m.Members = append(m.Members, pods(b.opts.addr).Members...)
	}
	var out []string
	for _, b := range fleet {
		b.peers.Update(m)
		for _, other := range fleet {
			if other != b {
				b.peers.Record(other.opts.addr, told(t, other), nil)
			}
		}
		b.sample()
		v, _ := b.view()
		all := append(slices.Clone(v.Peers), plan.Peer{Pod: v.Self, Share: v.Share, Warm: v.Warm})
		slices.SortFunc(all, func(x, y plan.Peer) int { return strings.Compare(x.Pod, y.Pod) })
		text := ""
		for _, p := range all {
			text += fmt.Sprintf(" %v", p.Share)
		}
		out = append(out, text[1:])
	}
	return out
}

// All pods come to the same shares, whoever looks.
func TestSharesOfAFleet(t *testing.T) {
	share := func(x float64) Option { return WithShare(func() float64 { return x }) }
	for name, tc := range map[string]struct {
		fleet func(t *testing.T) []*Balancer
		want  string
	}{
		"no limits": {func(t *testing.T) []*Balancer {
			return []*Balancer{sized(t, "198.18.0.1", 0), sized(t, "198.18.0.2", 0)}
		}, "1 1"},
		"all alike": {func(t *testing.T) []*Balancer {
			return []*Balancer{sized(t, "198.18.0.1", 1.0/3), sized(t, "198.18.0.2", 1.0/3), sized(t, "198.18.0.3", 1.0/3)}
		}, "1 1 1"},
		"one of four cores": {func(t *testing.T) []*Balancer {
			return []*Balancer{sized(t, "198.18.0.1", 1), sized(t, "198.18.0.2", 4), sized(t, "198.18.0.3", 1)}
		}, "1 4 1"},
		"one without a limit": {func(t *testing.T) []*Balancer {
			return []*Balancer{sized(t, "198.18.0.1", 1), sized(t, "198.18.0.2", 4), sized(t, "198.18.0.3", 0)}
		}, "1 1 1"},
		"one with a share of its own": {func(t *testing.T) []*Balancer {
			return []*Balancer{sized(t, "198.18.0.1", 1), sized(t, "198.18.0.2", 4), sized(t, "198.18.0.3", 1, share(2))}
		}, "1 1 2"},
		"shares of their own": {func(t *testing.T) []*Balancer {
			return []*Balancer{sized(t, "198.18.0.1", 1, share(0.5)), sized(t, "198.18.0.2", 4, share(1)), sized(t, "198.18.0.3", 1, share(2))}
		}, "0.5 1 2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fleet := tc.fleet(t)
				exchange(t, fleet)
				time.Sleep(time.Second)
				for i, got := range exchange(t, fleet) {
					if got != tc.want {
						t.Errorf("pod %d plans with the shares %s, want %s", i+1, got, tc.want)
					}
				}
			})
		})
	}
}

// The limit of a running pod may change. Its size does not depend on who looks at it when.
func TestResizedPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cores := 1.0
		b := sized(t, "198.18.0.1", 1)
		b.opts.cores = func() float64 { return cores }
		fleet := []*Balancer{b, sized(t, "198.18.0.2", 1)}
		exchange(t, fleet)
		cores = 2
		time.Sleep(29 * time.Second)
		exchange(t, fleet)
		if r := told(t, b); r.Cores != 1 {
			t.Errorf("after 29 s it reports %v cores, want those of before", r.Cores)
		}
		time.Sleep(2 * time.Second)
		exchange(t, fleet)
		if got := exchange(t, fleet)[1]; got != "2 1" || b.Status().Cores != 2 {
			t.Errorf("after 31 s the other pod plans with %s", got)
		}
	})
}

// What planning says of this pod reaches the others, until the pod stops.
func TestPlanningReachesPeers(t *testing.T) {
	b := sized(t, "198.18.0.1", 0)
	b.planShares = shares{relief: 0.5, paused: true, inFlight: 3, inFlightWeight: config.WeightStreams}
	if r := told(t, b); r.Relief != 0.5 || !r.Paused || r.InFlight[config.WeightStreams] != 3 || b.Status().Share != 0.5 {
		t.Errorf("%+v, shown as %v", r, b.Status().Share)
	}
	b.standDown("it stops")
	if r := told(t, b); r.Relief != 0 || r.Paused || r.InFlight != nil {
		t.Errorf("after the end: %+v", r)
	}
	b.planned(&plan.View{InFlight: plan.Flight{Load: 7}}, &plan.Step{}, 0)
	if r := told(t, b); r.InFlight[config.WeightConnections] != 7 {
		t.Errorf("after planning: %+v", r)
	}
}

// What a person reads is this pod's own load, and what it would be if all were even.
func TestStatusWithShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sized(t, "198.18.0.1", 1)
		b.peers.Update(pods("198.18.0.1", "198.18.0.2"))
		b.peers.Record("198.18.0.2", peerz.Report{Pod: "b", Ready: true, Connections: 40, Cores: 4, Warm: 0.75}, nil)
		s := b.Status()
		if s.Share != 1 || s.Cores != 1 || s.MeanLoad != 10 || s.Band.Over != 11 || s.Band.Under != 7 {
			t.Errorf("share %v, cores %v, mean %v, %+v", s.Share, s.Cores, s.MeanLoad, s.Band)
		}
		if p := s.Peers[1]; p.Share != 3 || p.Warm != 0.75 {
			t.Errorf("%+v", p)
		}
		b.peers.SetCapacity(peerview.Capacity{Cores: 2})
		if s := b.Status(); s.Share != 2 || s.MeanLoad != 16 || s.Band.Over != 18 {
			t.Errorf("share %v, mean %v, %+v", s.Share, s.MeanLoad, s.Band)
		}
	})
}
