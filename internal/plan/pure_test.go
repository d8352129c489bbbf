package plan

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyView draws a view of a pod among others, with anything that may be in it.
func anyView(t *rapid.T, now time.Duration) *View {
	pods := []string{"a", "b", "c", "d", "e"}
	v := &View{Now: now, Self: "a", Uptime: map[string]time.Duration{}, Departed: rapid.Uint64Range(0, 50).Draw(t, "departed")}
	v.Members = slices.Concat([]string{"a"}, pods[1:1+rapid.IntRange(0, 4).Draw(t, "others")])
	for _, pod := range v.Members[1:] {
		v.Uptime[pod] = time.Duration(rapid.IntRange(0, 3600).Draw(t, "uptime")) * time.Second
		v.Peers = append(v.Peers, Peer{
			Pod: pod, Age: time.Duration(rapid.IntRange(0, 15).Draw(t, "age")) * time.Second, Load: float64(rapid.IntRange(0, 40).Draw(t, "load")),
			Share: rapid.Float64Range(0, 4).Draw(t, "share"), Warm: rapid.Float64Range(0, 1).Draw(t, "warm"),
			InFlight: float64(rapid.IntRange(0, 3).Draw(t, "in flight")), Paused: rapid.Bool().Draw(t, "paused"),
		})
	}
	v.Starting, v.StartingKnown = rapid.IntRange(0, 1).Draw(t, "starting"), rapid.Bool().Draw(t, "known")
	v.Revisions = rapid.IntRange(0, 2).Draw(t, "revisions")
	v.Gate = Gate{Needed: rapid.Bool().Draw(t, "gate"), Open: rapid.Bool().Draw(t, "open"), OpenSince: now}
	v.Overloaded = rapid.SampledFrom([]string{"", "", "busy"}).Draw(t, "overloaded")
	v.Stale = rapid.SampledFrom([]string{"", "", "", "old"}).Draw(t, "stale")
	if v.Out = rapid.SampledFrom([]string{"", "", "", "", "not listed"}).Draw(t, "out"); v.Out != "" {
		v.Members, v.OutPods = v.Members[1:], 1
	}
	for i := range rapid.IntRange(0, 30).Draw(t, "connections") {
		v.Conns = append(v.Conns, Conn{ID: uint64(i + 1), Key: fmt.Sprint("k", i%7), Opened: now - time.Duration(i)*time.Minute, Weight: 1, Returned: i%5 == 0, FutileDrains: i % 3})
	}
	v.Load, v.Serving = float64(len(v.Conns)), len(v.Conns)
	return v
}

func copyOf(v *View) *View {
	c := *v
	c.Members, c.Peers, c.Conns = slices.Clone(v.Members), slices.Clone(v.Peers), slices.Clone(v.Conns)
	return &c
}

// Planning is pure: it leaves the view alone, decides the same for the same, and drains
// connections that are there, each once.
func TestNextIsPure(t *testing.T) {
	policy := newFleet(0, 0, 1).policy
	rapid.Check(t, func(t *rapid.T) {
		var s, same State
		p := policy
		now := time.Hour
		var query *Query
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(10, 20000).Draw(t, "pause")) * time.Millisecond
			v := anyView(t, now)
			p.DryRun = rapid.Bool().Draw(t, "dry run")
			if query != nil && rapid.Bool().Draw(t, "answered") {
				v.Counts = &Counts{Query: query.ID, ByPod: map[string]map[string]int{}}
				for pod := range query.Keys {
					v.Counts.ByPod[pod] = map[string]int{"k1": 1}
				}
			}
			before := copyOf(v)
			var st, again Step
			s, st = Next(s, v, &p)
			same, again = Next(same, copyOf(v), &p)
			if !reflect.DeepEqual(v, before) {
				t.Fatalf("the view was changed:\n%+v\n%+v", before, v)
			}
			if !reflect.DeepEqual(st, again) {
				t.Fatalf("the same view and history led to\n%+v\n%+v", st, again)
			}
			if st.Verdict == "" || st.Why == "" {
				t.Fatalf("got no verdict or no reason: %+v", st)
			}
			if p.DryRun && len(st.Drains) > 0 {
				t.Fatalf("a dry run drains %+v", st.Drains)
			}
			seen := map[uint64]bool{}
			for _, d := range st.Drains {
				if d.ID == 0 || seen[d.ID] {
					t.Fatalf("%+v is drained twice, or unknown", d)
				}
				seen[d.ID] = true
			}
			query = st.Query
		}
	})
}

// Fields that a source does not fill in mean what they meant before there were any.
func TestZeroValuesMeanWhatTheyMeant(t *testing.T) {
	play := func(fill func(*View)) (out []Step) {
		f := newFleet(3, 0, 1)
		f.addSingleHomed(60)
		var s State
		for range 600 {
			f.now += 100 * time.Millisecond
			f.report()
			v := f.view(f.pods[0])
			fill(v)
			var st Step
			s, st = Next(s, v, &f.policy)
			out = append(out, st)
		}
		return out
	}
	want := play(func(*View) {})
	for name, fill := range map[string]func(*View){
		"share":     func(v *View) { v.Share = 1 },
		"warm":      func(v *View) { v.Warm = 1 },
		"one zone":  func(v *View) { v.Zones = map[string]string{v.Members[0]: "x", v.Members[1]: "x", v.Members[2]: "x"} },
		"peers":     func(v *View) { setPeers(v, func(p *Peer) { p.Share, p.Warm = 1, 1 }) },
		"no zone":   func(v *View) { v.Zones = map[string]string{} },
		"no flight": func(v *View) { v.InFlight = Flight{} },
	} {
		if got := play(fill); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got other steps than without it", name)
		}
	}
}

func setPeers(v *View, set func(*Peer)) {
	for i := range v.Peers {
		set(&v.Peers[i])
	}
}
