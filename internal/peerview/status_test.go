package peerview

import (
	"context"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// Of many, one question in a round of minutes that has no answer is no news.
func TestWhoIsSilent(t *testing.T) {
	for n, want := range map[int]bool{32: true, 100: false} {
		b := asker(t, nil, manyMembers(n)...)
		for _, m := range manyMembers(n) {
			b.Record(m.Addrs[0].String(), peerz.Report{Ready: true}, nil)
		}
		b.Record("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
		if got := b.Silent() != ""; got != want {
			t.Errorf("of %d, one question failed: said %v", n, got)
		}
		b.Record("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
		if b.Silent() == "" {
			t.Errorf("of %d, two failed: nothing is said", n)
		}
	}
}
