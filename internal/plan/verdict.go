package plan

import (
	"cmp"
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
	even := l.overLoaded == 0 && l.underLoaded == 0
	e.wasEven = e.wasEven || even
	if even || e.unevenSince == 0 {
		e.unevenSince = v.Now
	}
	switch {
	case l.mean == 0:
		st.is(Balanced, fmt.Sprintf("none of the %d pods carries any load", len(v.Members)))
	case v.Overloaded != "" && !l.canTake:
		st.is(Overloaded, v.Overloaded+", but nothing can be moved: all other pods are overloaded too. Add pods")
	case v.Overloaded != "":
		st.is(Overloaded, v.Overloaded+", but this pod carries no more than the others: moving connections would overload them. Add pods")
	case p.Whole && l.mean*p.Floor < 1 && l.emptiest() == 0:
		st.is(Unbalanceable, fmt.Sprintf("%s too few to even out over %d pods. With a headless Service and round_robin each client would use all pods",
			plural(int(math.Round(l.sum())), "connection is", "connections are"), len(v.Members)))
	case even:
		e.trial = trial{before: e.trial.before, landed: e.trial.landed}
		st.is(Balanced, fmt.Sprintf("all %d pods%s are inside the band: no connection needs to move", len(v.Members), l.heard(v)))
	case l.flight > 0 && (l.total < 1 || l.givers() == 0):
		st.is(Waiting, inFlight(v))
	case s.members.rolling(v):
		st.is(Waiting, "pods are being replaced: connections move once that is over, unless a pod carries twice the mean")
	case v.Now-e.unevenSince < soonAfter || s.calm(v):
		st.is(Balanced, fmt.Sprintf("%d of %d pods%s are outside the band, but this one has nothing to give", l.overLoaded+l.underLoaded, len(v.Members), l.heard(v)))
	case p.DryRun:
		st.is(Waiting, fmt.Sprintf("dry run: %d of %d pods%s are outside the band, but this one has nothing to give: the verdicts of the others name what they would drain",
			l.overLoaded+l.underLoaded, len(v.Members), l.heard(v)))
	default:
		st.is(Unbalanceable, fmt.Sprintf("%d of %d pods%s have been outside the band for more than %.0f minutes, and this one has nothing to give: see the verdicts of the pods with the most load",
			l.overLoaded+l.underLoaded, len(v.Members), l.heard(v), soonAfter.Minutes()))
	}
}

// nameShortZone says that this pod's zone has too few pods, if it is even within the zone and
// carries more than the others. No GOAWAY can help: clients stay in their zone.
func (s *State) nameShortZone(v *View, p *Policy, st *Step) {
	zone, tied := v.Zones[v.Self]
	own := s.even.mean
	if len(s.mates) == 1 { // evenness has nothing to compare
		own = v.Load / share(v.Share)
	}
	if !tied || st.Verdict != Balanced || own == 0 {
		return
	}
	load, shares := v.Load, share(v.Share)
	for i := range v.Peers {
		load, shares = load+v.Peers[i].Load, shares+share(v.Peers[i].Share)
	}
	mean := load / shares
	if own <= BandOf(mean, p).Over {
		return
	}
	st.is(Unbalanceable, fmt.Sprintf("zone %s has too few pods: each carries %.1f times the mean of all zones, and the clients of a zone reach its own pods only (topology hints). Add pods there",
		zone, own/mean))
}

// nameProbation says that some pods of the Service do not count yet.
func (s *State) nameProbation(st *Step) {
	if n := s.members.onProbation(); n > 0 && st.Verdict == Balanced {
		st.Why += "; " + plural(n, "pod that left and returned counts once it has stayed", "pods that left and returned count once they have stayed")
	}
}

// heard continues a number of pods with how many of them reported, if not all did.
func (l *loads) heard(v *View) string {
	if l.known == len(v.Members)-1 {
		return ""
	}
	return fmt.Sprintf(" (%d reported)", l.known+1)
}

// inFlight names the drained connections whose streams go on.
func inFlight(v *View) string {
	if n := v.InFlight.Connections; n > 0 {
		return fmt.Sprintf("%s waiting for the end of %s, the oldest for %v: no more move until these have landed",
			plural(n, "drained connection is", "drained connections are"), plural(v.InFlight.Streams, "stream", "streams"), v.InFlight.Oldest.Round(time.Second))
	}
	return "drained connections of other pods are waiting for the end of their streams: no more move until these have landed"
}

func (l *loads) emptiest() float64 {
	return slices.MinFunc(l.pods, func(a, b podLoad) int { return cmp.Compare(a.load, b.load) }).load
}

func (l *loads) sum() float64 {
	sum := 0.0
	for i := range l.pods {
		sum += l.pods[i].load
	}
	return sum + l.flight
}

// describe names the imbalance.
func describe(l *loads, v *View, p *Policy) string {
	if v.Overloaded != "" {
		return v.Overloaded
	}
	if l.self.load > l.own.Over {
		return fmt.Sprintf("this pod carries more than %.4g times the mean load", 1+p.Tolerance)
	}
	if l.underLoaded == 0 {
		return fmt.Sprintf("%s more than %.4g times the mean load, and this one can spare some of it", plural(l.overLoaded, "pod carries", "pods carry"), 1+p.Tolerance)
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
