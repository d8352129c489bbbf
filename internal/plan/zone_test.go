package plan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func zoned(zones ...string) *View {
	v := &View{Self: "a", Zones: map[string]string{}}
	for i, zone := range zones {
		pod := string(rune('a' + i))
		v.Members = append(v.Members, pod)
		v.Zones[pod] = zone
	}
	return v
}

// Evenness is within a zone where clients stay in theirs.
func TestZoneViewLeavesOutOtherZones(t *testing.T) {
	v := zoned("x", "y", "x", "y")
	s := State{members: membership{counted: v.Members}}
	if got := s.zoneView(v); !slices.Equal(got.Members, []string{"a", "c"}) {
		t.Errorf("got mates %v, want a and c", got.Members)
	}
	v.Zones = nil
	if got := s.zoneView(v); !slices.Equal(got.Members, v.Members) {
		t.Errorf("got mates %v without zones, want all", got.Members)
	}
}

// A client of a zone of 2 pods comes back by chance half of the time, however many pods there are
// in other zones.
func TestReturnsInASmallZoneAreChance(t *testing.T) {
	v := zoned("x", "y", "x", "y", "z", "z")
	v.Now = time.Hour
	c := Conn{ID: 1, Key: "k", Weight: 1, Returned: true, Opened: v.Now - 11*time.Minute, FutileDrains: 5}
	p := &Policy{Cooldown: time.Minute, Whole: true}
	s := State{members: membership{counted: v.Members}}
	s.even.give = 1
	mates := s.zoneView(v)
	for of, want := range map[*View]bool{v: false, &mates: true} {
		var why stuck
		if got := why.mayMove(&c, &s, of, p); got != want || (why.pinned == 0) != want {
			t.Errorf("among %d pods it may move: %v, pinned: %d", len(of.Members), got, why.pinned)
		}
	}
}

// No GOAWAY can help a zone with too few pods, so its pods say so. A zone with one pod is
// the one that needs it most.
func TestShortZoneIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		zones []string
		loads []float64 // of the others
		want  bool
	}{
		"one pod":      {[]string{"x", "y", "y", "y"}, []float64{7, 7, 7}, true},
		"two pods":     {[]string{"x", "x", "y", "y", "y"}, []float64{20, 7, 7, 7}, true},
		"equal zones":  {[]string{"x", "x", "y", "y"}, []float64{20, 20, 20}, false},
		"larger zone":  {[]string{"x", "x", "y"}, []float64{20, 60}, false},
		"not in zones": {nil, []float64{20, 7}, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := zoned(tc.zones...)
			if tc.zones == nil {
				v.Members, v.Zones = []string{"a", "b", "c"}, nil
			}
			v.Load = 20
			for i, load := range tc.loads {
				v.Peers = append(v.Peers, Peer{Pod: v.Members[i+1], Load: load})
			}
			p := &Policy{Enabled: true, Tolerance: 0.1, Floor: 0.7, Whole: true}
			var s State
			var st Step
			for range 40 {
				v.Now += 1e8
				s, st = Next(s, v, p)
			}
			named := st.Verdict == Unbalanceable && strings.HasPrefix(st.Why, "zone x has too few pods")
			if named != tc.want {
				t.Errorf("got %s: %s; want the zone named: %v", st.Verdict, st.Why, tc.want)
			}
		})
	}
}
