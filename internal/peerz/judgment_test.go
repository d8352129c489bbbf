package peerz

import (
	"strings"
	"testing"
)

// Text from another pod is short and printable, and its report counts whatever it says.
func TestJudgmentIsClipped(t *testing.T) {
	much := strings.Repeat("ä", 1000)
	for _, tc := range []struct{ in, want Judgment }{
		{Judgment{}, Judgment{}},
		{Judgment{Verdict: "balanced", Why: "all 5 pods are inside the band"}, Judgment{Verdict: "balanced", Why: "all 5 pods are inside the band"}},
		{Judgment{Verdict: "bal\nanced", Why: "a\x1b[31mb\u202ec\xff"}, Judgment{Verdict: "balanced", Why: "a[31mbc"}},
		{Judgment{Verdict: much, Why: much}, Judgment{Verdict: much[:2*maxVerdict], Why: much[:2*maxWhy]}},
	} {
		addr := peer(t, Handler(func([]string) Report { return Report{Pod: "a", Judgment: tc.in} }))
		got, err := client(t, long).Ask(t.Context(), addr, nil)
		if err != nil || got.Judgment != tc.want {
			t.Errorf("%.60q: got %.60q and %v, want %.60q", tc.in, got.Judgment, err, tc.want)
		}
	}
}

// A pod that does not clip is clipped by the one that reads.
func TestJudgmentOfAnotherProgramIsClipped(t *testing.T) {
	got, err := decode([]byte(`{"pod":"a","ready":true,"uptimeMillis":1,"connections":0,"verdict":"`+strings.Repeat("v", 100)+`","why":"a\u0007b"}`), nil)
	if err != nil || len(got.Verdict) != maxVerdict || got.Why != "ab" {
		t.Errorf("got %+v, %v", got.Judgment, err)
	}
}
