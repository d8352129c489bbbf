package plan

import (
	"slices"
	"time"
)

// relief is the part of its share that an overloaded pod gives up. It grows while the pod is
// overloaded, quickly if the pod carries more than the others, and goes back slowly. So what
// the pod sheds goes where there is room, and pods that are all near their limits do not pass
// it around.
type relief struct {
	less  float64 // 1 - the part that it still claims
	at    time.Duration
	tight time.Duration // when another pod was overloaded too; 0: never
}

const (
	// reliefWorth is how many times the mean a pod must carry for others to have room.
	reliefWorth = 1.05
	// mostRelief is the largest part of its share that a pod gives up.
	mostRelief = 0.5
	// quickRelief is how much of its share a pod gives up in a second if it carries more than
	// others, and slowRelief if it does not.
	quickRelief = 0.01
	slowRelief  = 0.001
	// tightFor is how long after another pod was overloaded no pod gives up its share slowly:
	// the fleet is near its limits, and what one sheds another cannot take.
	tightFor = 10 * time.Minute
	// backPerSecond is how much of it comes back in a second.
	backPerSecond = 1. / 600
)

func (r *relief) part() float64 { return 1 - r.less }

// observe follows the signal. mean is that of the last plan; 0 if it is not known.
func (r *relief) observe(v *View, mean float64) {
	passed := min(v.Now-r.at, time.Second).Seconds()
	r.at = v.Now
	if slices.ContainsFunc(v.Peers, func(p Peer) bool { return p.Overloaded }) {
		r.tight = v.Now
	}
	switch {
	case v.Overloaded == "":
		r.less = max(0, r.less-passed*backPerSecond)
	case mean > 0 && v.Load > reliefWorth*mean*share(v.Share):
		r.less = min(mostRelief, r.less+passed*quickRelief)
	case mean > 0 && (r.tight == 0 || v.Now-r.tight > tightFor):
		r.less = min(mostRelief, r.less+passed*slowRelief)
	}
}
