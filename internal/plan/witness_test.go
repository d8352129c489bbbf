package plan

import (
	"fmt"
	"slices"
	"testing"
)

// Where one of two witnesses lost a few connections, the other one still shows how many of a
// key's connections are single-homed.
func TestHeldCountsWhatWitnessesHold(t *testing.T) {
	for _, tc := range []struct {
		name              string
		here, first, next int
		single            bool
		whole             bool
		want              int
	}{
		{"multi-homed", 5, 5, 5, false, true, 0},
		{"more here", 5, 2, 3, false, true, 2},
		{"fewer here", 2, 4, 3, false, true, 0},
		{"nobody else", 3, 0, 0, false, true, 3},
		{"known to be single-homed", 5, 5, 5, true, true, 5},
		{"as many, by other weights", 100, 100, 100, false, false, 0},
		{"about as many, by other weights", 100, 118, 109, false, false, 100},
	} {
		s := &State{}
		s.even.chosen = []choice{{key: "k"}}
		s.even.query = &Query{Keys: map[string][]string{"b": {"k"}, "c": {"k"}}}
		v := &View{Counts: &Counts{
			ByPod:       map[string]map[string]int{"b": {"k": tc.first}, "c": {"k": tc.next}},
			SingleHomed: map[string]bool{"k": tc.single},
		}}
		for range tc.here {
			v.Conns = append(v.Conns, Conn{Key: "k", Weight: 1})
		}
		if got := s.held(v)["k"].movable(&Policy{Whole: tc.whole}); got != tc.want {
			t.Errorf("%s: got %d connections that may move, want %d", tc.name, got, tc.want)
		}
	}
}

// The connections of one channel to this pod are drained together (gRFC A105): as long as it
// keeps one, it does not resolve. Those of many clients behind one address are not.
func TestConnectionsOfOneChannelAreDrainedTogether(t *testing.T) {
	for _, tc := range []struct {
		name        string
		here, there int
		give        float64
		want        int
	}{
		{"one channel of three", 3, 0, 1, 3},
		{"as many as one channel may have", oneChannel, 0, 1, oneChannel},
		{"more than one channel has", oneChannel + 1, 0, 1, 1},
		{"three here, one there", 3, 1, 1, 1},
	} {
		s := &State{}
		s.even.give = tc.give
		s.even.query = &Query{Keys: map[string][]string{"b": {"k"}}}
		v := &View{Counts: &Counts{ByPod: map[string]map[string]int{"b": {"k": tc.there}}}}
		for i := range tc.here {
			c := Conn{ID: uint64(i + 1), Key: "k", Weight: 1}
			v.Conns = append(v.Conns, c)
			s.even.chosen = append(s.even.chosen, choice{c.ID, c.Key, c.Weight, false})
		}
		queue, _ := s.movable(v, &Policy{Whole: true})
		if len(queue) != tc.want {
			t.Errorf("%s: got %v drained, want %d", tc.name, queue, tc.want)
		}
	}
}

// Until a growth is over, the owner of each key is queried, too. In a large fleet these would be
// hundreds of pods with a key each, and a new connection to most of them.
func TestOwnersAreQueriedInSmallFleets(t *testing.T) {
	for others, want := range map[int]bool{4: true, PollAll: true, PollAll + 1: false, 1000: false} {
		v := &View{Self: "pod-0"}
		for i := range others + 1 {
			v.Members = append(v.Members, fmt.Sprintf("pod-%d", i))
		}
		slices.Sort(v.Members)
		s := State{growth: &growth{owners: newOwners(v.Members)}}
		for i := range 100 {
			s.even.chosen = append(s.even.chosen, choice{uint64(i), fmt.Sprintf("key-%d", i), 1, false})
		}
		q := s.queryWitnesses(1, v)
		if got := len(q.Keys) > witnessCount; got != want {
			t.Errorf("%d other pods: %d are queried, want more than two: %v", others, len(q.Keys), want)
		}
	}
}

// An HTTP/1.1 client is single-homed, however many connections other pods hold of it: each of
// them went its own way. What others hold of the same key counts for its HTTP/2 connections.
func TestSingleConnectionsMoveWhateverOthersHold(t *testing.T) {
	for name, tc := range map[string]struct {
		single bool
		give   float64
		want   int
	}{
		"HTTP/1.1":             {true, 2, 2},
		"HTTP/1.1, too heavy":  {true, 0.5, 0},
		"a multi-homed client": {false, 2, 0},
	} {
		s := &State{}
		s.even.give = tc.give
		s.even.query = &Query{Keys: map[string][]string{"b": {"k"}}}
		v := &View{Counts: &Counts{ByPod: map[string]map[string]int{"b": {"k": 9}}}}
		for i := range 5 {
			c := Conn{ID: uint64(i + 1), Key: "k", Weight: 1, Single: tc.single}
			v.Conns = append(v.Conns, c)
			s.even.chosen = append(s.even.chosen, choice{c.ID, c.Key, c.Weight, c.Single})
		}
		queue, why := s.movable(v, &Policy{Whole: true})
		if len(queue) != tc.want || tc.single && why.multiHomed > 0 {
			t.Errorf("%s: got %v drained, %+v, want %d", name, queue, why, tc.want)
		}
	}
}

// Reach is for clients that are on all pods. It drains no connection of HTTP/1.1.
func TestReachLeavesSingleConnections(t *testing.T) {
	g := &growth{owners: newOwners([]string{"a"}), round: 1}
	v := &View{Self: "a", Conns: []Conn{{ID: 1, Key: "k", Single: true}, {ID: 2, Key: "k"}}}
	if owned := g.owned(v, nil); len(owned) != 1 || owned[0].ID != 2 {
		t.Errorf("reach owns %d connections, want the one of HTTP/2", len(owned))
	}
}

// A key with more connections than one channel may have is drained in part. None of them is in
// the queue twice, although the rest looks like those of one channel.
func TestNoConnectionIsQueuedTwice(t *testing.T) {
	s := &State{}
	s.even.give = 20
	s.even.query = &Query{Keys: map[string][]string{"b": {"k"}}}
	v := &View{Counts: &Counts{ByPod: map[string]map[string]int{"b": {"k": 0}}}}
	for i := range 8 {
		id := uint64(i + 1)
		v.Conns = append(v.Conns, Conn{ID: id, Key: "k", Weight: 1})
		s.even.chosen = append(s.even.chosen, choice{id, "k", 1, false})
	}
	slices.Reverse(s.even.chosen)
	queue, _ := s.movable(v, &Policy{Whole: true})
	slices.Sort(queue)
	if want := []uint64{1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(queue, want) {
		t.Errorf("got %v, want each connection once", queue)
	}
}
