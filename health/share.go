package health

import (
	"fmt"
	"slices"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// shareOr1 returns a share. Where none is known, the pod counts as one with 1.
func shareOr1(share float64) float64 {
	if share > 0 {
		return share
	}
	return 1
}

// sharesDiffer reports whether pods should carry different loads. Otherwise a person need not
// know what a share is.
func sharesDiffer(st rebalance.Status) bool {
	own := shareOr1(st.Share)
	return own != 1 || slices.ContainsFunc(st.Peers, func(p rebalance.PeerStatus) bool { return shareOr1(p.Share) != own })
}

// shareLine shows this pod's share and what it is made of.
func shareLine(st rebalance.Status) string {
	line := figure(shareOr1(st.Share))
	if note := shareNote(st); note != "" {
		line += ", " + note
	}
	return line
}

// shareNote names where the share comes from, if that is certain: a limit that is known need not
// count.
func shareNote(st rebalance.Status) string {
	switch {
	case st.Warm > 0 && st.Warm < 1:
		return fmt.Sprintf("warmed up to %.0f %%", st.Warm*100)
	case st.Cores > 0 && st.Share == st.Cores && st.Share != 1:
		return "its cores"
	}
	return ""
}

// peerShare is "?" if the pod has not reported its share.
func peerShare(p rebalance.PeerStatus) string {
	if p.Share == 0 {
		return "?"
	}
	return figure(p.Share)
}
