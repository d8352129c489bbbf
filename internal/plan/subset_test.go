package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// addSubsets adds channels that use three of the pods each.
func (f *fleet) addSubsets(n int) {
	for i := range n {
		c := &channel{key: fmt.Sprintf("subset-%d", i), subset: 3, conns: map[string]uint64{}}
		f.channels = append(f.channels, c)
		f.resolve(c)
	}
}

// Channels that use some of the pods (gRFC A68) get one GOAWAY each after a growth, whichever
// pods they are on. They come back, so none of them is moved, and none is called pinned.
func TestChannelsOnSomePodsAreDrainedOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ before, after int }{{10, 12}, {10, 20}, {6, 9}} {
		t.Run(fmt.Sprintf("%d to %d", tc.before, tc.after), func(t *testing.T) {
			f := newFleet(tc.before, 0, 0)
			f.addSubsets(120)
			f.policy.Tolerance, f.policy.Floor = 0.4, 0.3 // no new pod moves them before it knows better
			f.run(time.Minute)
			clear(f.goaways)
			for _, c := range f.channels {
				c.goaways = 0
			}
			f.scale(tc.after)
			f.resolveAll()
			f.run(8 * time.Minute)
			behind, others := 0, 0
			for _, c := range f.channels {
				for _, pod := range c.chosen(f.dns) {
					if _, ok := c.conns[pod]; !ok {
						behind++
						break
					}
				}
				if c.goaways != 1 {
					others++
				}
			}
			if behind > 0 || others > 2 {
				t.Errorf("%d channels do not know the new pods, and %d did not get one GOAWAY each; want none and 2 at most", behind, others)
			}
			if n := f.goaways[reason.Even]; n > 5 {
				t.Errorf("got %d GOAWAYs for evenness, want next to none: these clients choose their pods", n)
			}
		})
	}
}

// Without a growth evenness drains a few clients on some of the pods. As they come back, it leaves
// the others alone, and does not call them pinned.
func TestEvennessLeavesChannelsOnSomePods(t *testing.T) {
	f := newFleet(10, 0, 0)
	f.addSubsets(100)
	f.run(5 * time.Minute)
	if n := f.goaways[reason.Even]; n > 4*len(f.pods) {
		t.Errorf("got %d GOAWAYs, want a few of each pod", n)
	}
	clear(f.heard)
	f.run(5 * time.Minute)
	for said := range f.heard {
		if strings.Contains(said, "sessionAffinity") {
			t.Errorf("pods say %q of channels that use some of the pods", said)
		}
	}
}

// Single-homed clients with a few connections behind each address are on some of the pods as
// well. Each pod drains a few of them, and leaves the others to evenness.
func TestPoolsAreLeftToEvenness(t *testing.T) {
	f := newFleet(10, 0, 0)
	for i := range 300 {
		f.place(f.anyPod(), &singleClient{key: fmt.Sprintf("pool-%d", i/3)}, false)
	}
	f.noEvenness()
	f.run(time.Minute)
	f.scale(12)
	f.resolveAll()
	f.run(10 * time.Minute)
	if n := f.goaways[reason.Reach]; n > 10*(firstOfSubsets+2) {
		t.Errorf("got %d GOAWAYs for reach, want a few of each pod", n)
	}
}

// A pod that does not answer, such as one that hashes keys with another salt, makes no client of
// all pods look as if it were on some of them.
func TestSilentPodsMakeNoSubsets(t *testing.T) {
	g := &growth{owners: newOwners([]string{"a", "b", "c", "d"})}
	for _, tc := range []struct {
		counts map[string]map[string]int
		want   bool
	}{
		{map[string]map[string]int{"b": {"k": 1}, "c": {"k": 1}, "d": {"k": 1}}, false},
		{map[string]map[string]int{"b": {"k": 1}, "c": {"k": 1}}, false},
		{map[string]map[string]int{"b": {"k": 1}, "c": {"k": 0}}, true},
		{map[string]map[string]int{"b": {"k": 1}, "c": {"k": 2}, "d": {"k": 0}}, false},
		{map[string]map[string]int{"b": {"k": 0}, "c": {"k": 0}, "d": {"k": 0}}, false},
	} {
		g.inquiry.counts = tc.counts
		if got, _ := g.holders("k", "a"); got != tc.want {
			t.Errorf("%v: got %v, want %v", tc.counts, got, tc.want)
		}
	}
}

func sceneSubsets() *scene {
	f := newFleet(6, 0, 0)
	f.addSubsets(40)
	f.noEvenness()
	s := sceneOf(f, time.Minute)
	s.only = []string{"1", "2"}
	s.grow(8)
	s.play(5 * time.Minute)
	s.result()
	return s
}
