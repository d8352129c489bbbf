package plan

import (
	"math"
	"slices"
	"time"
)

// PollAll is up to how many other pods each is asked for its load once a second, and
// PollHandful how many of more, by chance. Planning needs to know them to tell few
// answers from peers that are silent.
const (
	PollAll     = 32
	PollHandful = 8
)

// ReportFresh is how old a report may be and still be acted upon.
const ReportFresh = 10 * time.Second

// loads are the loads of the pods that told of themselves lately, this one among them,
// and what follows from them.
//
//	load > over            over-loaded: gives away what is above
//	load < under           under-loaded: those above the level give to it
//	else                   inside the band
type loads struct {
	own, mean   float64
	over, under float64
	known       int     // other pods whose load is known
	overs       int     // of them and this one: above over
	unders      int     // below under
	excess      float64 // the sum of what is above over
	lack        float64 // the sum of what is below under
	level       float64 // what every pod may keep in this round
	reaching    bool
	sheds       bool // one of the others is not overloaded
	anew        int  // how many told since the last round
}

// measure takes the loads. ok is false if too few are known.
func (e *evener) measure(v *View, p *Policy) (l loads, ok bool) {
	e.all = append(e.all[:0], v.Load)
	e.hot = append(e.hot[:0], v.Overloaded != "")
	i := 0
	for _, peer := range v.Peers {
		for i < len(v.Members) && v.Members[i] < peer.Pod {
			i++
		}
		if i == len(v.Members) || v.Members[i] != peer.Pod || peer.Age > ReportFresh {
			continue
		}
		e.all = append(e.all, peer.Load)
		e.hot = append(e.hot, peer.Overloaded)
		l.reaching = l.reaching || peer.Reaching
		l.sheds = l.sheds || !peer.Overloaded
		if v.Now-peer.Age >= e.fresh {
			l.anew++
		}
	}
	l.own, l.known = v.Load, len(e.all)-1
	if l.known == 0 || !Enough(l.known, len(v.Members)-1) {
		return l, false
	}
	l.band(e.all, e.hot, len(v.Members), p)
	l.level = l.over
	if total := l.total(); total > 0 {
		l.level = min(l.over, waterLevel(e.all, total, l.under))
	}
	return l, true
}

// Enough is whether the loads of known of the others suffice to act upon: more than half
// of those that should have told. With a handful a second that is fewer than there are.
func Enough(known, others int) bool {
	expected := float64(others)
	if others > PollAll {
		expected *= 1 - math.Exp(-PollHandful*ReportFresh.Seconds()/float64(others))
	}
	return others == 0 || float64(known) > expected/2
}

// A Band is which loads are even enough: those from Under to Over.
type Band struct{ Over, Under float64 }

// rounding keeps 10 * 1.1 from being 12, and 14 from being less than 20 * 0.7.
const rounding = 1e-9

// BandOf is the band around a mean. Connections are moved whole: one above the mean is
// always allowed, and three whole numbers are inside, if that leaves no pod empty: to bring
// what is missing by less than one may take as many moves as there are pods, and many more
// where each other pod may have one of two numbers only.
//
//	mean 2      1 to 3
//	mean 3      2 to 4, not 3 to 4
//	mean 4      3 to 5
//	mean 10     7 to 11
func BandOf(mean float64, p *Policy) Band {
	band := Band{Over: mean * (1 + p.Tolerance), Under: mean * p.Floor}
	if !p.Whole || mean == 0 {
		return band
	}
	band.Over = max(math.Ceil(band.Over*(1-rounding)), math.Floor(mean*(1+rounding))+1)
	if band.Under*(1-rounding) > band.Over-2 {
		band.Under = math.Floor(min(band.Under*(1+rounding), max(band.Over-2, 1)))
	}
	return band
}

// band finds who is outside. Who is overloaded (hot) lacks nothing.
func (l *loads) band(all []float64, hot []bool, pods int, p *Policy) {
	for _, load := range all {
		l.mean += load / float64(len(all))
	}
	band := BandOf(l.mean, p)
	l.over, l.under = band.Over, band.Under*(1-rounding)
	margin := 0.0
	if pods > PollAll {
		margin = sparseMargin * l.mean
	}
	for i, load := range all {
		if load > l.over {
			l.overs++
			l.excess += load - l.over
		}
		if load < l.under && !hot[i] {
			l.unders++
			l.lack += l.under - load + margin
		}
	}
}

// sparseMargin is what the under-loaded are given beyond the band, as a share of the mean, where
// each pod sees only a few others at a time: the last one that lacks one connection would be
// in sight of too few.
const sparseMargin = 0.01

// leastFill is the least part of what the under-loaded lack that a round sets out to bring
// them: the last few would else take for ever.
const leastFill = 0.6

// total is how much all pods together should give in this round. What moves lands
// anywhere: unders in pods of it where it is lacking, overs in pods where it was too much.
// To aim at that mean would be too much half of the time, and what is too much costs as
// well; so it stays below by as much as chance may add.
func (l *loads) total() float64 {
	pods := float64(l.known + 1)
	back := float64(l.overs) / pods
	all := l.excess / max(1-back, 1/pods) // if every pod got its mean
	deviation := math.Sqrt(all * back * (1 - back) * float64(l.overs))
	total := l.excess + max(0, back*all-2*deviation)
	if l.unders > 0 {
		each := l.lack / float64(l.unders)
		total = max(total, max(leastFill, 1-1/math.Sqrt(each))*l.lack*pods/float64(l.unders))
	}
	return total
}

// waterLevel is the level above which the loads add up to total, but not below least: the
// fullest give first. It sorts all.
func waterLevel(all []float64, total, least float64) float64 {
	slices.Sort(all)
	above := 0.0
	for n := 1; n <= len(all); n++ {
		load := all[len(all)-n]
		above += load
		next := least
		if n < len(all) {
			next = max(least, all[len(all)-n-1])
		}
		if level := (above - total) / float64(n); level >= next {
			return level
		}
		if next == least {
			return least
		}
	}
	return least
}
