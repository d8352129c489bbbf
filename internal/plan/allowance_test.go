package plan

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Where clients come and go, loads change by themselves at rest: a trial must not take that
// for connections that do not land. And few GOAWAYs are worth sending.
func TestClientsThatComeAndGoAreNoFailure(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		f := newFleet(4, 0, 1)
		f.rand = rand.New(rand.NewPCG(seed, 0))
		f.addSingleHomed(100)
		born := f.churn(3*3600, func() {
			for _, pod := range f.pods {
				if f.verdicts[pod] == Unbalanceable {
					s := f.states[pod]
					t.Fatalf("seed %d, after %v: %s", seed, f.now-time.Hour, s.shown.why)
				}
			}
		})
		if n := f.goaways[reason.Even]; n > born/20 {
			t.Errorf("seed %d: got %d GOAWAYs for %d new connections, want one for 20 at most", seed, n, born)
		}
	}
}

// churn lets each client live for about 300 s, for so many seconds, and returns how many new
// ones there were.
func (f *fleet) churn(seconds int, each func()) (born int) {
	for range seconds {
		if f.rand.IntN(3) == 0 {
			f.replaceAny()
			born++
		}
		f.runBy(time.Second, time.Second)
		each()
	}
	return born
}

// What may be drained at rest comes back with time, or with clients that end, whichever is more.
func TestAllowance(t *testing.T) {
	for name, tc := range map[string]struct {
		hours    time.Duration
		departed uint64
		want     float64
	}{
		"at first":             {0, 0, 0},
		"nobody ends":          {6 * time.Hour, 0, 12.5}, // a half of the connections in a day
		"clients end":          {time.Hour, 300, 10},
		"many end":             {time.Hour, 3000, 25}, // a quarter at once
		"after a long holiday": {100 * time.Hour, 0, 25},
	} {
		var a allowance
		v := &View{Now: time.Hour, Serving: 100, Departed: 7}
		a.observe(v)
		if a.left != 25 {
			t.Errorf("%s: got %v at the start, want a quarter of 100", name, a.left)
		}
		a.left = 0
		v.Now, v.Departed = v.Now+tc.hours, v.Departed+tc.departed
		a.observe(v)
		if a.left < tc.want-1e-9 || a.left > tc.want+1e-9 {
			t.Errorf("%s: got %v, want %v", name, a.left, tc.want)
		}
	}
}

// However finely both are counted, it is whichever is more, not the sum.
func TestAllowanceIsNoSum(t *testing.T) {
	var a allowance
	v := &View{Now: time.Hour, Serving: 100}
	a.observe(v)
	a.left = 0
	for i := range 6 * 60 { // 12.5 by time, 6 by clients that end
		v.Now += time.Minute
		if i%60 == 59 {
			v.Departed += 30
		}
		a.observe(v)
	}
	if a.left < 12.4 || a.left > 12.6 {
		t.Errorf("got %v after 6 hours, want 12.5", a.left)
	}
}

// A pod with few connections may always try a few.
func TestAllowanceOfFewConnections(t *testing.T) {
	var a allowance
	a.observe(&View{Serving: 2})
	if a.left != lookLeast {
		t.Errorf("got %v, want %v", a.left, lookLeast)
	}
}

// Connections that stay are uneven for a reason: the allowance is for those that do not, and
// for loads that are weighed.
func TestAllowanceLimitsWhatComesAndGoes(t *testing.T) {
	whole, weighed := &Policy{Whole: true}, &Policy{}
	var a allowance
	v := &View{Now: time.Hour, Serving: 100}
	for range 100 {
		a.observe(v)
		v.Now += time.Minute
	}
	if a.limits(whole) || !a.limits(weighed) {
		t.Errorf("nobody ends: got limits %v by connections and %v by weight, want only the latter", a.limits(whole), a.limits(weighed))
	}
	for range 60 {
		v.Now, v.Departed = v.Now+time.Minute, v.Departed+1
		a.observe(v)
	}
	if !a.limits(whole) {
		t.Errorf("60 of 100 end in an hour: got no limit with a churn of %v", a.churn)
	}
	for range 10 * 60 {
		v.Now += time.Minute
		a.observe(v)
	}
	if a.limits(whole) {
		t.Errorf("10 hours later: got a limit with a churn of %v", a.churn)
	}
}
