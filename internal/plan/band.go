package plan

import (
	"cmp"
	"math"
	"slices"
)

// PollAll is the largest number of other pods that a pod polls all of, once a second. Of
// more it polls PollHandful each second, chosen by chance. Planning must know both to
// distinguish a small sample from silent peers.
const (
	PollAll     = 32
	PollHandful = 8
)

// podLoad is what is known of one pod.
type podLoad struct {
	pod        string
	load       float64 // without what is in flight
	share      float64
	plain      float64 // the share without relief; known of this pod only
	serving    int
	streams    float64 // in flight, where load is a rate
	overloaded bool
	renewed    bool // its report is newer than the last round
}

// loads are the loads of this pod and of those with a fresh report, and what follows from
// them. Each pod has a band of its own, by its share of the mean.
//
//	load > over            over-loaded: gives away what is above over
//	load < under           under-loaded: pods above the level give to it
//	else                   inside the band
type loads struct {
	self        podLoad
	pods        []podLoad // this one and the others, in no order
	mean        float64   // load for each share of 1, with what is in flight
	flight      float64   // what is in flight from all pods, and has not landed
	known       int       // other pods whose load is known
	overLoaded  int       // how many pods are above over
	underLoaded int       // how many are below under
	excess      float64   // the sum of what is above over
	deficit     float64   // the sum of what is missing below under
	square      float64   // how uneven the pods are: the sum of the squared distances from the mean
	level       float64   // what each pod may keep in this round, for each share of 1
	total       float64   // how much all pods together should give in this round
	own         Band      // of this pod
	least       float64   // what this pod keeps even if it is overloaded
	reaching    bool
	paused      bool  // another pod saw that connections do not land well
	canTake     bool  // one of the others is not overloaded
	renewed     int   // reports that are newer than the last round
	warming     bool  // the share of a pod still grows
	slow, end   bool  // it takes long until a round has landed; and then it has
	zoned       bool  // these are the pods of a zone, whose clients reach no others
	hung        []int // those of pods that hang; a buffer
}

// measure takes the loads. ok is false if too few are known.
func (e *evener) measure(v *View, p *Policy) (l loads, ok bool) {
	l.self = podLoad{
		pod: v.Self, load: v.Load, share: share(v.Share) * e.relief.part(), plain: share(v.Share),
		serving: v.Serving, streams: v.Streams, overloaded: v.Overloaded != "", renewed: true,
	}
	e.pods = append(e.pods[:0], l.self)
	l.pods = e.pods
	l.flight = v.InFlight.Load
	_, l.zoned = v.Zones[v.Self]
	i := 0
	for k := range v.Peers {
		peer := &v.Peers[k]
		for i < len(v.Members) && v.Members[i] < peer.Pod {
			i++
		}
		if i == len(v.Members) || v.Members[i] != peer.Pod || peer.Age > ReportFresh {
			continue
		}
		l.add(peer, v.Now-peer.Age >= e.landedAt)
	}
	e.pods, l.known = l.pods, len(l.pods)-1
	if l.known == 0 || !Enough(l.known, len(v.Members)-1) {
		return l, false
	}
	if !p.Whole {
		l.loadHung()
		l.leaveOutIdle()
	}
	l.land(&e.flights, v)
	l.compare(len(v.Members), p)
	return l, true
}

func (l *loads) add(peer *Peer, renewed bool) {
	l.pods = append(l.pods, podLoad{
		pod: peer.Pod, load: peer.Load, share: share(peer.Share),
		serving: peer.Serving, streams: peer.Streams, overloaded: peer.Overloaded, renewed: renewed,
	})
	if renewed {
		l.renewed++
	}
	l.flight += peer.InFlight
	l.reaching = l.reaching || peer.Reaching
	l.paused = l.paused || peer.Paused
	l.canTake = l.canTake || !peer.Overloaded
	l.warming = l.warming || peer.Warm > 0 && peer.Warm < 1
}

// share is a share as reported; what is not known counts as 1.
func share(s float64) float64 {
	if s <= 0 {
		return 1
	}
	return s
}

// A pod hangs or is slow if its connections bring less than slowPart of the load that they should,
// if waitPart of them wait for an answer at any time, and if its RPCs take slowTimes as long as
// those of the others. Clients that wait for an answer before they send again, or until a
// deadline, send less to it. Idle clients do not wait.
const slowPart, waitPart, slowTimes = 0.75, 0.25, 4

// loadHung gives pods that hang the load that their connections bring elsewhere. They have their
// share of the connections and too little load for them, since their handlers hang or are slow.
// By their own load they would be given more and more clients.
func (l *loads) loadHung() {
	var all, sound podLoad
	for i := range l.pods {
		all.add(&l.pods[i])
	}
	if all.load == 0 || all.serving == 0 {
		return
	}
	hung := l.hung[:0]
	for i := range l.pods {
		if d := &l.pods[i]; d.hangs(&all) {
			hung = append(hung, i)
		} else {
			sound.add(d)
		}
	}
	l.hung = hung
	for _, i := range hung {
		d := &l.pods[i]
		d.load = max(d.load, sound.load/float64(max(sound.serving, 1))*float64(d.serving))
	}
	l.self.load = l.pods[0].load
}

// idlePart is the part of the load that its connections should bring, below which another pod
// with its share of the connections is left out.
const idlePart = 0.25

// leaveOutIdle leaves out other pods that have their share of the connections and hardly any
// load. Whether their clients are idle or their reports are wrong, more clients would not fill
// them up.
func (l *loads) leaveOutIdle() {
	var all podLoad
	for i := range l.pods {
		all.add(&l.pods[i])
	}
	if all.load == 0 || all.serving == 0 {
		return
	}
	l.pods = append(l.pods[:1], slices.DeleteFunc(l.pods[1:], func(d podLoad) bool {
		return d.part(&all) < idlePart
	})...)
}

func (d *podLoad) add(one *podLoad) {
	d.load, d.streams, d.serving, d.share = d.load+one.load, d.streams+one.streams, d.serving+one.serving, d.share+one.share
}

// part returns which part of the load that its connections should bring a pod has, and 1 if it
// has less than its share of the connections. all is the sum over all pods, this one included.
func (d *podLoad) part(all *podLoad) float64 {
	n := float64(d.serving)
	if n < 1 || n < float64(all.serving)/all.share*d.share {
		return 1
	}
	return d.load / n * float64(all.serving) / all.load
}

// hangs compares a pod with all pods.
func (d *podLoad) hangs(all *podLoad) bool {
	others, waiting := all.load-d.load, all.streams-d.streams
	return d.part(all) < slowPart && d.streams >= waitPart*float64(d.serving) && d.streams*others > slowTimes*waiting*d.load
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
func BandOf(mean float64, p *Policy) Band { return bandOf(mean, p, false) }

// bandOf rounds the upper end up, and down in a zone whose clients reach its own pods only.
// Each connection less on an over-loaded pod costs several GOAWAYs: 300 connections that spread
// over a fourth pod cost 0.71 each if the others keep 83, and 0.72 if they keep 82. A zone has
// few connections, of which one more is much: 48 would be 1.12 times a mean of 43.
func bandOf(mean float64, p *Policy, zoned bool) Band {
	band := Band{Over: mean * (1 + p.Tolerance), Under: mean * p.Floor}
	if !p.Whole || mean == 0 {
		return band
	}
	over := math.Ceil(band.Over * (1 - rounding))
	if zoned {
		over = math.Floor(band.Over * (1 + rounding))
	}
	band.Over = max(over, math.Floor(mean*(1+rounding))+1)
	if band.Under*(1-rounding) > band.Over-2 {
		band.Under = math.Floor(min(band.Under*(1+rounding), max(band.Over-2, 1)))
	}
	return band
}

// compare finds the pods outside their bands. An overloaded pod is never under-loaded.
func (l *loads) compare(members int, p *Policy) {
	sum, shares := l.flight, 0.0
	for i := range l.pods {
		sum, shares = sum+l.pods[i].load, shares+l.pods[i].share
	}
	l.mean = sum / shares
	least := math.Inf(1)
	for i := range l.pods {
		d := &l.pods[i]
		target := l.mean * d.share
		band := bandOf(target, p, l.zoned)
		band.Under *= 1 - rounding
		margin := 0.0
		if members > PollAll {
			margin = sparseMargin * target
		}
		least = min(least, band.Under/d.share)
		l.square += (d.load - target) * (d.load - target)
		if d.load > band.Over {
			l.overLoaded++
			l.excess += d.load - band.Over
		}
		if d.load < band.Under && !d.overloaded {
			l.underLoaded++
			l.deficit += band.Under - d.load + margin
		}
	}
	l.own = bandOf(l.mean*l.self.share, p, l.zoned)
	l.least = p.Floor * l.self.plain * sum / (shares + l.self.plain - l.self.share)
	if l.flight > 0 && !l.end { // it may land here, and with it what other pods drain at the same moment
		least = max(least, l.mean*(1+p.Tolerance/2))
	}
	l.level = l.own.Over / l.self.share
	if l.total = l.give(p); l.total > 0 {
		l.level = min(l.level, waterLevel(l.pods, l.total, least))
	}
}

// givers is how many pods are above the level.
func (l *loads) givers() (n int) {
	for i := range l.pods {
		if l.pods[i].load > l.level*l.pods[i].share {
			n++
		}
	}
	return n
}

// sparseMargin is a share of the mean that under-loaded pods are given beyond the band. It
// applies if each pod sees only a few others at a time. Otherwise too few pods would see the last
// one that lacks a single connection.
const sparseMargin = 0.01

// leastFill is the least part of the deficit of under-loaded pods that a round sets out to
// bring them. Without it the last few connections would take forever.
const leastFill = 0.7

// Where pods are unlike, the largest share at least unlikeShares times the smallest, small pods get
// as many connections as large ones, and must give most of them away again. So a round brings
// under-loaded pods less: unlikeFill of their deficit at least, and at most three deviations less than
// all of it.
const unlikeShares, unlikeFill, unlikeDeviations = 1.5, 0.5, 3

// give is how much all pods together should give. A moved connection lands anywhere: in
// underLoaded of the pods where it is missing, in overLoaded of them where there was too
// much. Aiming at the mean of that would overshoot half of the time, and an overshoot costs
// as well. So the sum stays below it by as much as chance may add.
func (l *loads) give(p *Policy) float64 {
	total, pods := l.excess, float64(len(l.pods))
	unlike := l.unlike()
	if !unlike {
		back := float64(l.overLoaded) / pods
		all := l.excess / max(1-back, 1/pods) // if every pod got its mean
		deviation := math.Sqrt(all * back * (1 - back) * float64(l.overLoaded))
		if l.slow { // the next round comes late
			deviation = 0
		}
		total += max(0, back*all-2*deviation)
	}
	if l.underLoaded > 0 {
		each := l.deficit / float64(l.underLoaded)
		fill := max(leastFill, 1-1/math.Sqrt(each)) * l.deficit
		if unlike {
			fill = max(unlikeFill, 1-unlikeDeviations/math.Sqrt(each)) * l.deficit
		}
		if p.Whole {
			fill = max(fill, 1) // less than a connection is seldom moved at all
		}
		total = max(total, fill*pods/float64(l.underLoaded)-l.flight)
	}
	return total
}

// unlike reports whether some pods should carry much more than others, and not for a moment: neither
// while one warms up, nor while one has a smaller share because it is overloaded.
func (l *loads) unlike() bool {
	least, most := math.Inf(1), 0.0
	for i := range l.pods {
		if l.pods[i].overloaded {
			return false
		}
		least, most = min(least, l.pods[i].share), max(most, l.pods[i].share)
	}
	return most >= unlikeShares*least && !l.warming && l.self.share == l.self.plain
}

// waterLevel is the level above which the loads add up to total, but not below least: the
// fullest pods give first. Levels are for each share of 1. It sorts all.
func waterLevel(all []podLoad, total, least float64) float64 {
	slices.SortFunc(all, func(a, b podLoad) int { return cmp.Compare(b.load*a.share, a.load*b.share) })
	above, shares := 0.0, 0.0
	for i := range all {
		above, shares = above+all[i].load, shares+all[i].share
		next := least
		if i+1 < len(all) {
			next = max(least, all[i+1].load/all[i+1].share)
		}
		if level := (above - total) / shares; level >= next {
			return level
		}
		if next == least {
			return least
		}
	}
	return least
}
