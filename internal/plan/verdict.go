package plan

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// inside explains why this pod gives nothing.
func (s *State) inside(l *loads, v *View, p *Policy, st *Step) {
	if st.Verdict != Balanced {
		return
	}
	e := &s.even
	if even := l.overLoaded == 0 && l.underLoaded == 0; even || e.unevenSince == 0 {
		e.unevenSince = v.Now
	}
	switch {
	case l.sum() == 0:
		st.is(Balanced, fmt.Sprintf("none of the %d pods carries any load", len(v.Members)))
	case v.Overloaded != "":
		st.is(Overloaded, v.Overloaded+", but nothing can be moved: all other pods are overloaded too, or this one is already down to rebalance.floor. Add pods")
	case p.Whole && l.mean*p.Floor < 1 && slices.Min(e.all) == 0:
		st.is(Unbalanceable, fmt.Sprintf("%s too few to even out over %d pods. With a headless Service and round_robin each client would use all pods",
			plural(int(math.Round(l.sum())), "connection is", "connections are"), len(v.Members)))
	case l.overLoaded == 0 && l.underLoaded == 0:
		e.trial = trial{}
		st.is(Balanced, fmt.Sprintf("all %d pods are inside the band: no connection needs to move", len(v.Members)))
	case v.Now-e.unevenSince < soonAfter:
		st.is(Moving, fmt.Sprintf("%d of %d pods are outside the band, but this one has nothing to give", l.overLoaded+l.underLoaded, len(v.Members)))
	default:
		st.is(Unbalanceable, fmt.Sprintf("%d of %d pods have been outside the band for more than %.0f minutes, and this one has nothing to give: see the verdicts of the pods with the most load",
			l.overLoaded+l.underLoaded, len(v.Members), soonAfter.Minutes()))
	}
}

func (l *loads) sum() float64 { return l.mean * float64(l.known+1) }

// describe names the imbalance.
func describe(l *loads, v *View, p *Policy) string {
	if v.Overloaded != "" {
		return v.Overloaded
	}
	if l.self > l.over {
		return fmt.Sprintf("this pod carries more than %.4g times the mean load", 1+p.Tolerance)
	}
	return fmt.Sprintf("%s less than %.4g of the mean load", plural(l.underLoaded, "pod carries", "pods carry"), p.Floor)
}

func describeRound(n int) string {
	if n == 0 {
		return "this pod has nothing to give in this round: it waits until the connections that other pods drain have landed"
	}
	return fmt.Sprintf("this pod chooses among %d connections and queries other pods for the same clients", n)
}

func (s *State) movingText() string {
	return fmt.Sprintf("this pod drains %s within %v", plural(s.even.total, "connection", "connections"),
		s.pace.length(s.even.total).Round(time.Millisecond))
}

func (e *evener) verdict() Verdict {
	if e.reason == reason.Overload {
		return Overloaded
	}
	return Moving
}
