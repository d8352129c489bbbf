package plan

import "testing"

// All connections of a client that another pod has found to be single-homed may be moved.
func TestAboveCountsSingleHomedClientsInFull(t *testing.T) {
	e := &evener{query: &Query{Keys: map[string][]string{"b": {"nat", "multi"}}}}
	v := &View{
		Conns:  []Conn{{ID: 1, Key: "nat"}, {ID: 2, Key: "multi"}},
		Counts: &Counts{ByPod: map[string]map[string]int{"b": {"nat": 3, "multi": 3}}, SingleHomed: map[string]bool{"nat": true}},
	}
	if above := e.above(v); above["nat"] != 1 || above["multi"] != -2 {
		t.Errorf("got %v above, want nat 1 and multi -2", above)
	}
}
