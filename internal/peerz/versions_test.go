package peerz

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
)

// reportBefore is the Report of the version before shares, places and what is in flight. The
// version after this one is a report with fields that nobody knows yet.
type reportBefore struct {
	Pod          string             `json:"pod"`
	Ready        bool               `json:"ready"`
	UptimeMillis int64              `json:"uptimeMillis"`
	Generation   uint64             `json:"generation"`
	Connections  int                `json:"connections"`
	Draining     int                `json:"draining"`
	Streams      int                `json:"streams"`
	Loads        map[string]float64 `json:"loads,omitempty"`
	Reaching     bool               `json:"reaching,omitempty"`
	Overloaded   bool               `json:"overloaded,omitempty"`
	Keys         map[string]int     `json:"keys,omitempty"`
	SingleHomed  []string           `json:"sticky,omitempty"`
}

// Pods of three versions in a row understand each other: each reads what it knows, and takes
// what is missing for what it meant before there was any.
func TestThreeVersionsUnderstandEachOther(t *testing.T) {
	keys := hashes(2)
	old := reportBefore{
		Pod: "old", Ready: true, UptimeMillis: 5000, Generation: 2, Connections: 7, Draining: 1, Streams: 3,
		Loads: map[string]float64{"connections": 6}, Reaching: true, Keys: map[string]int{keys[0]: 2}, SingleHomed: keys[1:],
	}
	want := Report{
		Pod: "old", Ready: true, UptimeMillis: 5000, Generation: 2, Connections: 7, Draining: 1, Streams: 3,
		Loads: map[string]float64{"connections": 6}, Reaching: true, Keys: map[string]int{keys[0]: 2}, SingleHomed: keys[1:],
	}
	for name, answer := range map[string]any{
		"before": old,
		"after": map[string]any{
			"pod": "old", "ready": true, "uptimeMillis": 5000, "generation": 2, "connections": 7, "draining": 1, "streams": 3,
			"loads": map[string]float64{"connections": 6}, "reaching": true, "keys": map[string]int{keys[0]: 2}, "sticky": keys[1:],
			"nextYear": map[string]any{"x": []int{1}}, "mood": "good",
		},
	} {
		addr := peer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			jsonHead(w)
			_ = json.NewEncoder(w).Encode(answer)
		}))
		if got, err := client(t, long).Ask(t.Context(), addr, keys); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the version %s: got %+v, %v, want %+v", name, got, err, want)
		}
	}

	now := want
	now.InFlight, now.Cores, now.Share, now.Warm, now.Relief, now.Paused = map[string]float64{"connections": 1}, 2, 2, 0.5, 0.5, true
	now.Judgment = Judgment{Verdict: "balanced", Why: "all is even"}
	now.Place = Place{Zone: "z", Revision: "r", Out: true, SaltCheck: "abc"}
	addr := peer(t, Handler(func([]string) Report { return now }))
	resp, err := http.Get("http://" + addr + Path + "?keys=" + keys[0] + "," + keys[1] + "&newParameter=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var read reportBefore
	if err := json.NewDecoder(resp.Body).Decode(&read); err != nil || !reflect.DeepEqual(read, old) {
		t.Errorf("the version before reads %+v, %v, want %+v", read, err, old)
	}
}
