package peerview

import (
	"context"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// In a large fleet, where each pod is polled once in minutes, one failure is no news.
func TestSilentPeers(t *testing.T) {
	for n, want := range map[int]bool{32: true, 100: false} {
		b := asker(t, nil, manyMembers(n)...)
		for _, m := range manyMembers(n) {
			b.Record(m.Addrs[0].String(), peerz.Report{Ready: true}, nil)
		}
		b.Record("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
		if got := b.Silent() != ""; got != want {
			t.Errorf("%d peers, one failed poll: reported %v", n, got)
		}
		b.Record("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
		if b.Silent() == "" {
			t.Errorf("%d peers, two failed polls: nothing is reported", n)
		}
	}
}

// A row has what the pod itself says of the balance.
func TestRowsHaveVerdicts(t *testing.T) {
	b := asker(t, nil, manyMembers(2)...)
	said := peerz.Judgment{Verdict: "waiting", Why: "DNS lists 1 of 2 pods"}
	b.Record(manyMembers(2)[0].Addrs[0].String(), peerz.Report{Pod: "a", Ready: true, Judgment: said}, nil)
	n := 0
	for _, row := range b.Rows("connections") {
		if row.Judgment == said {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d rows have the verdict of the one pod that reported", n)
	}
}
