package shown

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

func TestStatusHasNoNullInJSON(t *testing.T) {
	text, err := json.Marshal(Status(rebalance.Status{}))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "null") {
		t.Errorf("got %s, want no null", text)
	}
}

func TestStatusHasEveryKnownLabel(t *testing.T) {
	st := Status(rebalance.Status{GoAways: map[string]uint64{"even": 3, "new": 1}})
	for _, label := range GoAwayReasons() {
		if _, ok := st.GoAways[label]; !ok {
			t.Errorf("GoAways has no %q", label)
		}
	}
	for _, label := range ClosedHows() {
		if _, ok := st.Closed[label]; !ok {
			t.Errorf("Closed has no %q", label)
		}
	}
	if st.GoAways["even"] != 3 || st.GoAways["new"] != 1 {
		t.Errorf("got %v, want even 3 and new 1", st.GoAways)
	}
}

func TestStatusIsValidUTF8(t *testing.T) {
	const bad = "bad\xff\xfe"
	st := Status(rebalance.Status{
		Pod: bad, Uptime: bad, Weight: bad, Source: bad, Verdict: bad, Why: bad,
		Peers:      []rebalance.PeerStatus{{Pod: bad, Address: bad, Error: bad}},
		Conditions: []rebalance.Condition{{Code: bad, Severity: bad, Text: bad}},
		Decisions:  []rebalance.Decision{{Action: bad, Why: bad}},
		GoAways:    map[string]uint64{bad: 1},
	})
	wantValidText(t, "Status", reflect.ValueOf(st))
}

// wantValidText checks every string below v.
func wantValidText(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			t.Errorf("%s: got %q, want valid UTF-8", name, v.String())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				wantValidText(t, name+"."+field.Name, v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			wantValidText(t, name+"[]", v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			wantValidText(t, name+" key", key)
		}
	}
}

func TestStatusLeavesItsArgumentAlone(t *testing.T) {
	sample := func() rebalance.Status {
		return rebalance.Status{
			GoAways: map[string]uint64{"a\xff": 1},
			Peers:   []rebalance.PeerStatus{{Pod: "a\xff"}},
		}
	}
	st := sample()
	Status(st)
	if !reflect.DeepEqual(st, sample()) {
		t.Errorf("got %+v, want it unchanged", st)
	}
}
