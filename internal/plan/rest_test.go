package plan

import (
	"math"
	"testing"
	"time"
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
