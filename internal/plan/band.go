package plan

import (
	"math"
	"slices"
	"time"
)

// PollAll is the largest number of other pods that a pod polls all of, once a second. Of
// more it polls PollHandful each second, chosen by chance. Planning must know both to
// distinguish a small sample from silent peers.
const (
	PollAll     = 32
	PollHandful = 8
)

// ReportFresh is how old a report may be to be acted upon.
const ReportFresh = 10 * time.Second

// loads are the loads of this pod and of those with a fresh report, and what follows from
// them.
//
//	load > over            over-loaded: gives away what is above over
//	load < under           under-loaded: pods above the level give to it
//	else                   inside the band
type loads struct {
	self, mean  float64
	over, under float64
	known       int     // other pods whose load is known
	overLoaded  int     // how many of them and this one are above over
	underLoaded int     // how many are below under
	excess      float64 // the sum of what is above over
	deficit     float64 // the sum of what is missing below under
	level       float64 // what every pod may keep in this round
	reaching    bool
	canTake     bool // one of the others is not overloaded
	renewed     int  // reports that are newer than the last round
}

// measure takes the loads. ok is false if too few are known.
func (e *evener) measure(v *View, p *Policy) (l loads, ok bool) {
	e.all = append(e.all[:0], v.Load)
	e.overloaded = append(e.overloaded[:0], v.Overloaded != "")
	i := 0
	for _, peer := range v.Peers {
		for i < len(v.Members) && v.Members[i] < peer.Pod {
			i++
		}
		if i == len(v.Members) || v.Members[i] != peer.Pod || peer.Age > ReportFresh {
			continue
		}
		e.all = append(e.all, peer.Load)
		e.overloaded = append(e.overloaded, peer.Overloaded)
		l.reaching = l.reaching || peer.Reaching
		l.canTake = l.canTake || !peer.Overloaded
		if v.Now-peer.Age >= e.landedAt {
			l.renewed++
		}
	}
	l.self, l.known = v.Load, len(e.all)-1
	if l.known == 0 || !Enough(l.known, len(v.Members)-1) {
		return l, false
	}
	l.band(e.all, e.overloaded, len(v.Members), p)
	l.level = l.over
	if total := l.total(); total > 0 {
		l.level = min(l.over, waterLevel(e.all, total, l.under))
	}
	return l, true
}

// Enough reports whether the loads of known of the others suffice to act upon: more than
// half of those that should have reported. Where pods poll a handful a second, that is
// fewer than there are.
func Enough(known, others int) bool {
	expected := float64(others)
	if others > PollAll {
		expected *= 1 - math.Exp(-PollHandful*ReportFresh.Seconds()/float64(others))
	}
	return others == 0 || float64(known) > expected/2
}

// A Band is the range of loads that are left alone, from Under to Over.
type Band struct{ Over, Under float64 }

// rounding keeps 10 * 1.1 from being 12, and 14 from being less than 20 * 0.7.
const rounding = 1e-9

// BandOf is the band around a mean. Connections move whole, so one above the mean is
// always allowed. Three whole numbers are inside, if that leaves no pod empty. To bring a
// pod the one connection that it lacks may take as many moves as there are pods. It takes
// many more if each other pod may have one of two numbers only.
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

// band finds the pods outside the band. An overloaded pod is never under-loaded.
func (l *loads) band(all []float64, overloaded []bool, pods int, p *Policy) {
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
			l.overLoaded++
			l.excess += load - l.over
		}
		if load < l.under && !overloaded[i] {
			l.underLoaded++
			l.deficit += l.under - load + margin
		}
	}
}

// sparseMargin is a share of the mean that under-loaded pods are given beyond the band. It
// applies if each pod sees only a few others at a time. Otherwise too few pods would see the last
// one that lacks a single connection.
const sparseMargin = 0.01

// leastFill is the least part of the deficit of under-loaded pods that a round sets out to
// bring them. Without it the last few connections would take forever.
const leastFill = 0.6

// total is how much all pods together should give in this round. A moved connection lands
// anywhere: in underLoaded of the pods where it is missing, in overLoaded of them where
// there was too much. Aiming at the mean of that would overshoot half of the time, and an
// overshoot costs as well. So the total stays below it by as much as chance may add.
func (l *loads) total() float64 {
	pods := float64(l.known + 1)
	back := float64(l.overLoaded) / pods
	all := l.excess / max(1-back, 1/pods) // if every pod got its mean
	deviation := math.Sqrt(all * back * (1 - back) * float64(l.overLoaded))
	total := l.excess + max(0, back*all-2*deviation)
	if l.underLoaded > 0 {
		each := l.deficit / float64(l.underLoaded)
		total = max(total, max(leastFill, 1-1/math.Sqrt(each))*l.deficit*pods/float64(l.underLoaded))
	}
	return total
}

// waterLevel is the level above which the loads add up to total, but not below least: the
// fullest pods give first. It sorts all.
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
