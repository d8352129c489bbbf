package plan

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// As many returns in a row happen to one client of a thousand by chance, and one more to fewer.
func TestExplained(t *testing.T) {
	for pods, want := range map[int]int{1: 9, 2: 9, 3: 6, 10: 2, 100: 1, 5000: 1} {
		got := explained(pods)
		if got != want {
			t.Errorf("%d pods: got %d returns that chance explains, want %d", pods, got, want)
		}
		if chance := math.Pow(1/float64(max(pods, 2)), float64(got+1)); chance > unlikely*(1+1e-9) {
			t.Errorf("%d pods: one more has a chance of %v, want %v at most", pods, chance, unlikely)
		}
	}
}

// A client rests for the cooldown while chance may explain its returns, then for longer.
func TestRest(t *testing.T) {
	p := &Policy{Cooldown: 30 * time.Second}
	for returns, want := range map[int]time.Duration{0: p.Cooldown, 1: p.Cooldown, 6: p.Cooldown, 7: 10 * time.Minute, 8: time.Hour, 9: 48 * time.Hour, 99: 48 * time.Hour} {
		if got := rest(returns, 3, p); got != want {
			t.Errorf("%d returns with 3 pods: got a rest of %v, want %v", returns, got, want)
		}
	}
	if got := rest(7, 3, &Policy{Cooldown: time.Hour}); got != time.Hour {
		t.Errorf("got a rest of %v, want no less than the cooldown", got)
	}
}

// A connection of HTTP/1.1 rests for one round, while chance may explain the returns of its
// client. Then it is pinned as any other.
func TestRestOfHTTP1(t *testing.T) {
	p := &Policy{Cooldown: 30 * time.Second, Whole: true}
	for returns, want := range map[int]time.Duration{0: singleRest, 6: singleRest, 7: 10 * time.Minute, 9: 48 * time.Hour} {
		c := &Conn{Single: true, Returned: true, Weight: 1, FutileDrains: returns, Opened: time.Hour}
		s, v, why := &State{}, &View{Members: []string{"a", "b", "c"}}, &stuck{}
		s.even.give = 1
		for after, moves := range map[time.Duration]bool{want - 1: false, want: true} {
			v.Now = c.Opened + after
			if got := why.mayMove(c, s, v, p); got != moves {
				t.Errorf("%d returns: %v after it came back, got %v, want %v", returns, after, got, moves)
			}
		}
		if text := why.text(p); returns <= 6 && text != "1 of 2 connections came back recently and are left alone for 3s" {
			t.Errorf("%d returns: got %q", returns, text)
		}
	}
	if got := restOf(&Conn{Single: true}, 3, &Policy{Cooldown: time.Second}); got != time.Second {
		t.Errorf("got a rest of %v, want no more than the cooldown", got)
	}
}

// What rounds have shown of clients expires, and is bounded.
func TestClientsAreForgotten(t *testing.T) {
	var c clients
	c.away([]string{"nat"}, time.Hour)
	if !c.singleHomed["nat"] || !c.wasSingleHomed("nat", time.Hour+singleHomedKept-1) || c.wasSingleHomed("nat", time.Hour+singleHomedKept) {
		t.Error("a single-homed client is not remembered for an hour")
	}
	for i := range 3 * maxRemembered {
		c.everywhere(string(rune(i)), time.Hour)
	}
	if n := len(c.multiHomed); n > maxRemembered {
		t.Errorf("got %d clients remembered, want %d at most", n, maxRemembered)
	}
	c.begin(era{generation: 1})
	if c.multiHomed != nil {
		t.Error("multi-homed clients are remembered in another era")
	}
}

// By weight, a fleet that has not changed since its first view moves only what stays uneven for
// minutes; after a change it does so at once. In the end it is even both times.
func TestWeighedLoadsWaitForAChange(t *testing.T) {
	for _, changes := range []bool{false, true} {
		f := newFleet(3, 0, 1)
		f.policy.Whole = false
		f.run(time.Minute)
		if changes {
			f.scale(4)
			f.resolveAll()
			f.run(time.Second)
		}
		for i := range 60 {
			f.place(f.pods[0], &singleClient{key: fmt.Sprint("client-", i)}, false)
		}
		f.run(time.Minute)
		if moved := f.goaways[reason.Even] > 0; moved != changes {
			t.Errorf("changes %v: got %d GOAWAYs in the first minute", changes, f.goaways[reason.Even])
		}
		f.runBy(time.Second, 3*time.Hour)
		if f.goaways[reason.Even] == 0 {
			t.Errorf("changes %v: nothing ever moved", changes)
		}
		for _, pod := range f.pods {
			band := BandOf(f.mean(), &f.policy)
			// At rest the last one or two are not worth a GOAWAY.
			if n := float64(len(f.conns[pod])); n > band.Over+2 || n < band.Under-2 {
				t.Errorf("changes %v: pod %s has %v connections in the end, want %+v", changes, pod, n, band)
			}
		}
	}
}
