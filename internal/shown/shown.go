// Package shown makes a rebalance.Status fit to be shown. The health endpoint and the
// metrics are modules of their own, and both need it.
package shown

import (
	"strings"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/reason"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Counters have all of their labels from the start, at 0: rate() and increase() miss the
// first event of a series that appears together with it.

// GoAwayReasons returns the known keys of Status.GoAways in the order in which people read
// them.
func GoAwayReasons() []string {
	all := reason.All()
	out := make([]string, len(all))
	for i, r := range all {
		out[i] = string(r)
	}
	return out
}

// PlannedReasons returns the known keys of Status.Planned.
func PlannedReasons() []string {
	return []string{string(reason.Reach), string(reason.Even), string(reason.Overload), string(reason.Evacuation)}
}

// ClosedHows returns the known keys of Status.Closed in the order in which people read
// them.
func ClosedHows() []string { return []string{"clean", "forced", "client", "server"} }

// Status returns a copy of st that is fit to be shown. Every known label is there, no list
// is null in JSON, and all text is valid UTF-8, since names may come from other pods. The
// slices and maps of st stay as they are.
func Status(st rebalance.Status) rebalance.Status {
	st.Pod, st.Source, st.Uptime, st.Why, st.Zone = Valid(st.Pod), Valid(st.Source), Valid(st.Uptime), Valid(st.Why), Valid(st.Zone)
	st.Verdict, st.Weight = Valid(st.Verdict), Valid(st.Weight)
	st.GoAways = counts(st.GoAways, GoAwayReasons())
	st.Planned = counts(st.Planned, PlannedReasons())
	st.Closed = counts(st.Closed, ClosedHows())
	st.PeerErrors = counts(st.PeerErrors, peerz.Classes())
	st.Peers = each(st.Peers, func(p *rebalance.PeerStatus) {
		p.Pod, p.Address, p.Error, p.Zone = Valid(p.Pod), Valid(p.Address), Valid(p.Error), Valid(p.Zone)
		p.Verdict, p.Why = Valid(p.Verdict), Valid(p.Why)
	})
	st.Conditions = each(st.Conditions, func(c *rebalance.Condition) {
		c.Code, c.Severity, c.Text = Valid(c.Code), Valid(c.Severity), Valid(c.Text)
	})
	st.Decisions = each(st.Decisions, func(d *rebalance.Decision) {
		d.Action, d.Why = Valid(d.Action), Valid(d.Why)
	})
	return st
}

// ReadyPeers returns how many of the peers are ready.
func ReadyPeers(peers []rebalance.PeerStatus) int {
	n := 0
	for _, p := range peers {
		if p.Ready {
			n++
		}
	}
	return n
}

// Valid replaces every run of bytes that is not UTF-8 by one replacement character.
func Valid[S ~string](s S) S { return S(strings.ToValidUTF8(string(s), "\uFFFD")) }

// each returns a copy of list, never nil, with fix applied to its elements.
func each[T any](list []T, fix func(*T)) []T {
	out := append(make([]T, 0, len(list)), list...)
	for i := range out {
		fix(&out[i])
	}
	return out
}

// counts returns a copy of by, never nil, with every known label.
func counts(by map[string]uint64, known []string) map[string]uint64 {
	out := make(map[string]uint64, len(by)+len(known))
	for _, label := range known {
		out[label] = 0
	}
	for label, n := range by {
		out[Valid(label)] += n // two labels may become one
	}
	return out
}
