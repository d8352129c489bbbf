package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func chosenOf(conns []Conn, give float64, changedAt time.Duration) []choice {
	s := &State{}
	s.even.give, s.members.begunAt = give, changedAt
	out, _ := s.candidates(&View{Now: time.Hour, Self: "a", Members: []string{"a", "b", "c"}, Conns: conns}, &Policy{Cooldown: 30 * time.Second, Whole: true}, 1)
	return out
}

// A round moves a fair sample: half of the connections carry half of the traffic.
func TestChosenConnectionsAreAFairSample(t *testing.T) {
	var conns []Conn
	for i := range 200 {
		rate := 0.
		if i%2 == 0 {
			rate = float64(1 + i)
		}
		conns = append(conns, Conn{ID: uint64(i), Key: fmt.Sprint(i), Weight: 1, Rate: rate})
	}
	all := 0.
	for _, c := range conns {
		all += c.Rate
	}
	out := chosenOf(conns, 100, 0)
	for _, n := range []int{25, 50, 100, 150} {
		part := 0.
		for _, c := range out[:n] {
			part += conns[c.id].Rate
		}
		if want := float64(n) / 200; part/all < want*0.9-0.02 || part/all > want*1.1+0.02 {
			t.Errorf("the first %d of 200 carry %.2f of the traffic, want about %.2f", n, part/all, want)
		}
	}
}

// Each prefix carries its part, whatever the traffic is: it is off by a few of the heaviest.
func TestPrefixesCarryTheirPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := rapid.SliceOfN(rapid.Float64Range(0, 10), 1, 200).Draw(t, "rates")
		var conns []Conn
		all := 0.
		for i, rate := range rates {
			conns = append(conns, Conn{ID: uint64(i), Key: fmt.Sprint(i), Weight: 1, Rate: rate})
			all += rate
		}
		out := chosenOf(conns, float64(len(conns)), 0)
		part := 0.
		for n, c := range out {
			part += rates[c.id]
			if want := all * float64(n+1) / float64(len(rates)); part < want-50 || part > want+50 {
				t.Fatalf("the first %d of %d carry %v of %v, want about %v", n+1, len(rates), part, all, want)
			}
		}
	})
}

// Where loads are weighed, after a change each prefix carries its part or somewhat more: fewer GOAWAYs move the
// same load.
func TestHeavierConnectionsGoSlightlySooner(t *testing.T) {
	var conns []Conn
	all := 0.
	for i := range 200 {
		c := Conn{ID: uint64(i), Key: fmt.Sprint(i), Weight: 1000 / float64(1+i)}
		conns, all = append(conns, c), all+c.Weight
	}
	s := &State{}
	s.even.give, s.members.changes[0] = all, 59*time.Minute
	out, _ := s.candidates(&View{Now: time.Hour, Self: "a", Members: []string{"a", "b"}, Conns: conns}, &Policy{}, 1)
	for _, n := range []int{25, 50, 100, 150} {
		part := 0.
		for _, c := range out[:n] {
			part += c.weight
		}
		if fair := float64(n) / 200; part/all < fair || part/all > 2*fair+0.2 {
			t.Errorf("the first %d of 200 carry %.2f of the load, want %.2f or somewhat more", n, part/all, fair)
		}
	}
}

// Those that came back once go first: their resolvers have looked again by now. Those that came
// after the members changed go last: most have been moved once already.
func TestOrderOfChoice(t *testing.T) {
	conns := []Conn{
		{ID: 1, Key: "young", Weight: 1, Opened: 50 * time.Minute},
		{ID: 2, Key: "old", Weight: 1, Opened: time.Minute},
		{ID: 3, Key: "back", Weight: 1, Opened: 50 * time.Minute, Returned: true, FutileDrains: 1},
		{ID: 4, Key: "draining", Weight: 1, Draining: true},
		{ID: 5, Key: "idle"}, // no stream was ever opened
		{ID: 6, Key: "cooling", Weight: 1, Opened: time.Hour - time.Second, Returned: true, FutileDrains: 1},
		{ID: 7, Key: "heavy", Weight: 5},
	}
	var ids []uint64
	for _, c := range chosenOf(conns, 3, 30*time.Minute) {
		ids = append(ids, c.id)
	}
	if want := []uint64{3, 2, 1}; !slices.Equal(ids, want) {
		t.Errorf("got %v, want %v", ids, want)
	}
}
